"""The random bits are those that the authors of Philox publish, and each row's bits are its own."""

import hashlib

import torch

from holdfast.core.draw import Draw, philox, row_key

PUBLISHED = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


def words(text):
    return tuple(torch.tensor([int(word, 16)]) for word in text.split())


def test_philox_gives_the_published_vectors():
    for counter, key, expected in PUBLISHED:
        assert " ".join(f"{int(word):08x}" for word in philox(words(counter), words(key))) == expected


def test_philox_gives_the_published_vectors_in_one_batch():
    counter = tuple(torch.cat(column) for column in zip(*(words(case[0]) for case in PUBLISHED), strict=True))
    key = tuple(torch.cat(column) for column in zip(*(words(case[1]) for case in PUBLISHED), strict=True))
    expected = [torch.cat(column) for column in zip(*(words(case[2]) for case in PUBLISHED), strict=True)]
    for found, wanted in zip(philox(counter, key), expected, strict=True):
        assert torch.equal(found, wanted)


def test_bits_are_philox_of_block_step_and_name_under_the_row_key():
    key, step = torch.tensor([0x299F31D0_A4093822, -5]), torch.tensor([3, 2**33 + 1])
    bits = Draw(key, step).bits("noise", 7)
    assert bits.shape == (2, 7)
    name = int.from_bytes(hashlib.sha256(b"noise").digest()[:4], "little")
    for row, (low, high) in enumerate([(0xA4093822, 0x299F31D0), (2**32 - 5, 2**32 - 1)]):
        here = int(step[row])
        for block in range(2):
            counter = [torch.tensor(word) for word in (block, here % 2**32, name, here >> 32)]
            expected = philox(tuple(counter), (torch.tensor(low), torch.tensor(high)))
            found = bits[row, 4 * block : 4 * block + 4].tolist()
            assert found == [int(word) for word in expected][: len(found)]


def test_row_keys_differ_by_seed_sample_and_member_and_in_nothing_else():
    sample, member = torch.meshgrid(torch.arange(40), torch.arange(5), indexing="ij")
    sample, member = sample.flatten(), member.flatten()
    keys = torch.cat([row_key(seed, sample, member) for seed in (0, 1, -1, 2**40)])
    assert len(keys.unique()) == len(keys) == 800
    assert torch.equal(row_key(7, sample[13:14], member[13:14]), row_key(7, sample, member)[13:14])


def test_row_keys_use_all_64_bits_of_sample_and_seed():
    one, member = torch.tensor([5]), torch.tensor([0])
    assert int(row_key(0, one, member)) != int(row_key(0, one + 2**32, member))
    assert int(row_key(1, one, member)) != int(row_key(1 + 2**32, one, member))
    keys = row_key(3, torch.arange(4096), torch.zeros(4096, dtype=torch.int64))
    for bit in range(64):
        assert abs(((keys >> bit) & 1).double().mean() - 0.5) < 0.05
