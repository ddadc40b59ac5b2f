"""Triple DES in ECB mode, for the account handshake of old Tars endpoints only. Do not use it for anything else.

Pure. The standard library has no DES, the handshake encrypts 48 bytes per connection, and nobody should have to install
a cryptography package for a cipher that is broken. Endpoints that need protection use `ssl`.

Source: FIPS 46-3.
"""

from __future__ import annotations

from collections.abc import Sequence

_PC1 = (
    57, 49, 41, 33, 25, 17, 9, 1, 58, 50, 42, 34, 26, 18, 10, 2, 59, 51, 43, 35, 27, 19, 11, 3, 60, 52, 44, 36,
    63, 55, 47, 39, 31, 23, 15, 7, 62, 54, 46, 38, 30, 22, 14, 6, 61, 53, 45, 37, 29, 21, 13, 5, 28, 20, 12, 4,
)  # fmt: skip
_PC2 = (
    14, 17, 11, 24, 1, 5, 3, 28, 15, 6, 21, 10, 23, 19, 12, 4, 26, 8, 16, 7, 27, 20, 13, 2,
    41, 52, 31, 37, 47, 55, 30, 40, 51, 45, 33, 48, 44, 49, 39, 56, 34, 53, 46, 42, 50, 36, 29, 32,
)  # fmt: skip
_SHIFTS = (1, 1, 2, 2, 2, 2, 2, 2, 1, 2, 2, 2, 2, 2, 2, 1)
_IP = tuple(column - 8 * row for column in (58, 60, 62, 64, 57, 59, 61, 63) for row in range(8))
_FP = tuple(_IP.index(place) + 1 for place in range(1, 65))
_E = tuple((4 * group + offset) % 32 + 1 for group in range(8) for offset in range(-1, 5))
_P = (
    16, 7, 20, 21, 29, 12, 28, 17, 1, 15, 23, 26, 5, 18, 31, 10,
    2, 8, 24, 14, 32, 27, 3, 9, 19, 13, 30, 6, 22, 11, 4, 25,
)  # fmt: skip
_S = tuple(
    tuple(int(digit, 16) for digit in box)
    for box in (
        "e4d12fb83a6c5907" "0f74e2d1a6cb9538" "41e8d62bfc973a50" "fc8249175b3ea06d",
        "f18e6b34972dc05a" "3d47f28ec01a69b5" "0e7ba4d158c6932f" "d8a13f42b67c05e9",
        "a09e63f51dc7b428" "d709346a285ecbf1" "d6498f30b12c5ae7" "1ad069874fe3b52c",
        "7de3069a1285bc4f" "d8b56f03472c1ae9" "a690cb7df13e5284" "3f06a1d8945bc72e",
        "2c417ab6853fd0e9" "eb2c47d150fa3986" "421bad78f9c5630e" "b8c71e2d6f09a453",
        "c1af92680d34e75b" "af427c9561de0b38" "9ef528c3704a1db6" "432c95fabe17608d",
        "4b2ef08d3c975a61" "d0b7491ae35c2f86" "14bdc37eaf680592" "6bd814a7950fe23c",
        "d2846fb1a93e50c7" "1fd8a374c56b0e92" "7b419ce206adf358" "21e74a8dfc90356b",
    )
)  # fmt: skip


def encrypt(key: bytes, data: bytes) -> bytes:
    """EDE with a key of 24 bytes, PKCS#5 padding."""
    rest = 8 - len(data) % 8
    first, second, third = (_subkeys(key[at : at + 8]) for at in (0, 8, 16))
    found = bytearray()
    padded = data + bytes([rest]) * rest
    for at in range(0, len(padded), 8):
        block = int.from_bytes(padded[at : at + 8], "big")
        block = _crypt(_crypt(_crypt(block, first), second[::-1]), third)
        found += block.to_bytes(8, "big")
    return bytes(found)


def _permuted(value: int, width: int, places: Sequence[int]) -> int:
    found = 0
    for place in places:
        found = found << 1 | value >> (width - place) & 1
    return found


def _subkeys(key: bytes) -> list[int]:
    both = _permuted(int.from_bytes(key, "big"), 64, _PC1)
    left, right = both >> 28, both & 0xFFFFFFF
    keys = []
    for shift in _SHIFTS:
        left = (left << shift | left >> (28 - shift)) & 0xFFFFFFF
        right = (right << shift | right >> (28 - shift)) & 0xFFFFFFF
        keys.append(_permuted(left << 28 | right, 56, _PC2))
    return keys


def _crypt(block: int, keys: Sequence[int]) -> int:
    both = _permuted(block, 64, _IP)
    left, right = both >> 32, both & 0xFFFFFFFF
    for key in keys:
        mixed = _permuted(right, 32, _E) ^ key
        out = 0
        for box, number in zip(_S, range(42, -1, -6), strict=True):
            six = mixed >> number & 0x3F
            out = out << 4 | box[(six >> 4 & 2 | six & 1) * 16 + (six >> 1 & 15)]
        left, right = right, left ^ _permuted(out, 32, _P)
    return _permuted(right << 32 | left, 64, _FP)
