"""The vocabulary: rows, keyed noise, types, attacks as data, errors. Imports torch alone."""
