"""What the cipher engine's self-test asks, and the answers to it.

Made up for the purpose, so that a payload fills a beat of every lane and begins a second one; a
test computes each of them with ``cryptography``. Bytes are in the order of the specifications.
"""

from tailrace_hw.crypto.types import KeySize

__all__ = [
    "AAD",
    "CIPHERTEXT",
    "DATA_UNITS",
    "IV",
    "KEY",
    "PLAINTEXT",
    "TAGS",
    "TWEAK",
    "TWEAK_KEY",
    "payload_bytes",
]

#: Keys begin here: an AES-128 key is the first 16 bytes. XTS: Key1, and Key2.
KEY, TWEAK_KEY = bytes(range(0x20)), bytes(range(0xA0, 0xC0))
IV, TWEAK, AAD = bytes(range(0x40, 0x4C)), bytes(range(0x50, 0x60)), bytes(range(0x60, 0x74))
#: Of the widest engine; others take the first :func:`payload_bytes`.
PLAINTEXT = bytes((7 * index + 3) % 256 for index in range(136))


def payload_bytes(lanes: int) -> int:
    """Bytes of a packet: a block for each lane, and half of one."""
    return 16 * lanes + 8


#: GCM, by key size. A shorter payload has the first bytes of it (SP 800-38D, 6.5).
CIPHERTEXT = {
    KeySize.AES_128: bytes.fromhex(
        "3a2378d2726dd484b7fb0a4fa97918943f0738e39244083a10f271e1bb12d6d5ee30a99264a7"
        "3f598ca0b3e234060dc598bcaf17dc3208415080078600cbaa858c21c5c88ac2537cbbc73d02"
        "b0109241bd146bed6675f4c4a4660b3eb83275ee8b01d0101685b2cccc15253b126eddc4a6cf"
        "21a9fe3d3385777d9f879c5f036c71bb162255ee678f"
    ),
    KeySize.AES_192: bytes.fromhex(
        "25064d628e717581d651ccec0a6d7606fb8187124bade23c64fd586f0bf2f3b87c07146f7e52"
        "c817a92799698b03b7ee35658a3282ebcb02b28b67c9e5b91f564827fa5998c0b7db45581c74"
        "c858cf8a246cae133b23e5bd1e6ba4ba3886dcc384478ae10e3b44fbca0df2ee4dbd4ddb2b88"
        "e01e1154e8dbf7b4eba1e4d49c09a10171b35d7b23ee"
    ),
    KeySize.AES_256: bytes.fromhex(
        "e1b3bf3b391aaa37f6865e66cc3a76370abcd3d438a39287dcf5f72550dd38077be2025421bf"
        "d2403ad6225fa6339a96982bcb595cb19f8d0a884da480449d7c27d90472db38c65eacc36a95"
        "8166d9447d421383643c49eb1ca45cbf9c8eb1c91459cb5237c6aa1493f07c4b4035f7009ba5"
        "7cc684a94f399cecec840fc637bf3489ff5d9997d433"
    ),
}
#: GCM, by key size and bytes of payload.
TAGS = {
    (KeySize.AES_128, 24): bytes.fromhex("a70eae87d3eed57af6e12e139dd54eb1"),
    (KeySize.AES_128, 40): bytes.fromhex("606b5855351b29e2c482be096b4bbc19"),
    (KeySize.AES_128, 72): bytes.fromhex("a9b23b13c3f4ca5ad29524d3cae3402b"),
    (KeySize.AES_128, 136): bytes.fromhex("e2417937eb2cbaf3eb11034a5cd272fe"),
    (KeySize.AES_192, 24): bytes.fromhex("2afb64763213466ca4caf3e3d46a1c71"),
    (KeySize.AES_192, 40): bytes.fromhex("b74d006cab17151be41a46a6210b011b"),
    (KeySize.AES_192, 72): bytes.fromhex("2ecbea8353c278556b704659293afa02"),
    (KeySize.AES_192, 136): bytes.fromhex("b22619e044035d93e8d36be3fa38f72d"),
    (KeySize.AES_256, 24): bytes.fromhex("bbe31b742400e857a6c1b4cd389ae087"),
    (KeySize.AES_256, 40): bytes.fromhex("00b3b816ccd07747d862dd7808c71ade"),
    (KeySize.AES_256, 72): bytes.fromhex("29f2de632b1cfc8a1431b3133bf692bd"),
    (KeySize.AES_256, 136): bytes.fromhex("b427673148491f01f043d2256778ae83"),
}
#: XTS, by key size and bytes of payload.
DATA_UNITS = {
    (KeySize.AES_128, 24): bytes.fromhex("bdb2474031c17caa19abe1b283f111f2ee3718fbf791bf82"),
    (KeySize.AES_128, 40): bytes.fromhex(
        "ee3718fbf791bf8274bff80485991ee9a7dd065bebe9303b77884b5a1f26b51560f4e13ac19c4e13"
    ),
    (KeySize.AES_128, 72): bytes.fromhex(
        "ee3718fbf791bf8274bff80485991ee960f4e13ac19c4e13b40243c9cd8e77b61514ca734575"
        "fab9639caaa94ff7ce680cdd5cda6fbf8dba71b2f3ca2aa5360b31b6ac74ad5066ac"
    ),
    (KeySize.AES_128, 136): bytes.fromhex(
        "ee3718fbf791bf8274bff80485991ee960f4e13ac19c4e13b40243c9cd8e77b61514ca734575"
        "fab9639caaa94ff7ce6831b6ac74ad5066ac279cc4e6ae48392faa2378385001dd8a8928d4e1"
        "23759f74bc123a7a77a424acd5b4380ed0b4a19b30ef03da9143e94270c77371fb80c53d47a3"
        "da120aa32b1f322e16bb8d98537e17ee0784ea2e42a0"
    ),
    (KeySize.AES_256, 24): bytes.fromhex("2c7809a94d31685ca70f06c9e0022c50a5a2417ccd73fd0c"),
    (KeySize.AES_256, 40): bytes.fromhex(
        "a5a2417ccd73fd0c8e71ae194147d16ccccca711d39cafaf3f584e82b354e3eb2f57f04d6ebaae34"
    ),
    (KeySize.AES_256, 72): bytes.fromhex(
        "a5a2417ccd73fd0c8e71ae194147d16c2f57f04d6ebaae34f6975f43b6b592cc29a839c05fc3"
        "88d1e68bc0755934d3bee364d0222cd2ce3597fb47c9b50a792cf90e725b5e3f3b83"
    ),
    (KeySize.AES_256, 136): bytes.fromhex(
        "a5a2417ccd73fd0c8e71ae194147d16c2f57f04d6ebaae34f6975f43b6b592cc29a839c05fc3"
        "88d1e68bc0755934d3bef90e725b5e3f3b83ed849d266a57b1013f2312c98632ec4014bf6635"
        "9ab7152ce5382e1b6d4c7f58ba3187be869cb6738674b05e51db06be740f670b8b1e3b3c177a"
        "861e40711867ae1c2f4660cb8813192c8ebe6d419f82"
    ),
}
