// Descriptors of the integrated block's interfaces (PG213, "Descriptor Formats").

#pragma once

#include <array>
#include <cstdint>

namespace tailrace {

constexpr uint32_t request_header = 4;     // dwords
constexpr uint32_t completion_header = 3;
constexpr uint32_t max_dwords = 1024;      // of payload

enum RequestType : uint32_t { memory_read = 0, memory_write = 1 };

// Error codes of RC descriptors.
enum ErrorCode : uint32_t {
    no_error = 0,
    poisoned = 1,
    bad_status = 2,
    invalid_length = 3,
    mismatch = 4,
    invalid_address = 5,
    invalid_tag = 6,
    ended_by_reset = 8,
    timed_out = 9,
};

constexpr uint32_t status_unsupported = 1;

// A requester request as it came over RQ.
struct Request {
    std::array<uint32_t, request_header + max_dwords> dwords;
    uint32_t count = 0;  // dwords so far
    uint32_t first_be = 0, last_be = 0, seq_num = 0;
    bool discontinue = false;

    uint64_t address() const { return (uint64_t{dwords[1]} << 32) | (dwords[0] & ~3u); }
    uint32_t length() const { return dwords[2] & 0x7FF; }
    uint32_t type() const { return (dwords[2] >> 11) & 15; }
    uint32_t requester() const { return dwords[2] >> 16; }
    uint32_t function() const { return requester() & 7; }
    uint32_t tag() const { return dwords[3] & 0xFF; }
    bool names_requester() const { return (dwords[3] >> 24) & 1; }
    uint32_t traffic_class() const { return (dwords[3] >> 25) & 7; }
    uint32_t attributes() const { return (dwords[3] >> 28) & 7; }
    const uint32_t *payload() const { return dwords.data() + request_header; }
};

// Bytes before the first one that is enabled, and behind the last one. A request without any
// enabled byte counts as one byte (PCIe 5.0, 2.3.1.1).
inline uint32_t bytes_before(uint32_t first_be) {
    return (first_be & 7) == 0 ? 3 : (first_be & 3) == 0 ? 2 : (first_be & 1) == 0 ? 1 : 0;
}

inline uint32_t bytes_behind(uint32_t last_be) {
    return last_be == 1 ? 3 : (last_be & 0xE) == 2 ? 2 : (last_be & 0xC) == 4 ? 1 : 0;
}

inline uint32_t byte_count(uint32_t length, uint32_t first_be, uint32_t last_be) {
    return 4 * length - bytes_before(first_be) - bytes_behind(length == 1 ? first_be : last_be);
}

inline uint32_t byte_count(const Request &request) {
    return byte_count(request.length(), request.first_be, request.last_be);
}

// A requester completion, ready for RC.
struct Completion {
    std::array<uint32_t, completion_header + max_dwords> dwords;
    uint32_t count = 0;
    // Enabled bytes of the payload: `used` from byte `offset` on.
    uint32_t offset = 0, used = 0;
    bool discontinue = false;
};

// Fields of an RC descriptor.
struct CompletionFields {
    uint32_t lower_address = 0, error = no_error, byte_count = 0, length = 0, status = 0;
    uint32_t requester = 0, tag = 0, traffic_class = 0, attributes = 0;
    bool completed = false, poisoned = false;

    static CompletionFields unpack(const uint32_t *dwords) {
        CompletionFields fields;
        fields.lower_address = dwords[0] & 0xFFF;
        fields.error = (dwords[0] >> 12) & 15;
        fields.byte_count = (dwords[0] >> 16) & 0x1FFF;
        fields.completed = (dwords[0] >> 30 & 1) != 0;
        fields.length = dwords[1] & 0x7FF;
        fields.status = (dwords[1] >> 11) & 7;
        fields.poisoned = (dwords[1] >> 14 & 1) != 0;
        fields.requester = dwords[1] >> 16;
        fields.tag = dwords[2] & 0xFF;
        fields.traffic_class = (dwords[2] >> 25) & 7;
        fields.attributes = (dwords[2] >> 28) & 7;
        return fields;
    }

    void pack(uint32_t *dwords) const {
        dwords[0] = (lower_address & 0xFFF) | error << 12 | (byte_count & 0x1FFF) << 16 |
                    uint32_t{completed} << 30;
        dwords[1] = (length & 0x7FF) | status << 11 | uint32_t{poisoned} << 14 | requester << 16;
        dwords[2] = tag | traffic_class << 25 | attributes << 28;
    }
};

}  // namespace tailrace
