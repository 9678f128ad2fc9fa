// Access to the ports of the Verilated top, by name or by index.
//
// Verilator keeps a port in the smallest of 8, 16, 32, 64 bits, or in 32-bit words. On a little
// endian machine all of these are the same thing: bytes, least significant first. So a pin is a
// pointer to bytes, and one BFM fits every width.

#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <deque>
#include <string_view>
#include <vector>

#include "api.hpp"

class Vdevice;

namespace tailrace {

static_assert(std::endian::native == std::endian::little, "pins are read as bytes");

// Made by library.py from the header of the Verilated model.
extern const tr_pin pin_table[];
extern const uint32_t pin_count;
void bind_pins(Vdevice &model, void **at);

// Bits [place, place + count) of a wide value, count <= 32.
inline uint32_t bits_of(const uint8_t *bytes, uint32_t place, uint32_t count) {
    uint64_t value = 0;
    const uint32_t first = place / 8;
    std::memcpy(&value, bytes + first, (place + count + 7) / 8 - first);
    return static_cast<uint32_t>(value >> (place % 8)) & static_cast<uint32_t>((1ull << count) - 1);
}

// Set bits of a wide value that are 0 so far, count <= 32.
inline void set_bits(uint8_t *bytes, uint32_t place, uint32_t count, uint64_t value) {
    const uint64_t shifted = (value & ((1ull << count) - 1)) << (place % 8);
    const uint32_t first = place / 8;
    for (uint32_t index = first; index < (place + count + 7) / 8; ++index) {
        bytes[index] |= static_cast<uint8_t>(shifted >> (8 * (index - first)));
    }
}

class Pin {
public:
    Pin() = default;
    Pin(void *at, uint32_t bits) : at_(static_cast<uint8_t *>(at)), bits_(bits) {}

    uint32_t bits() const { return bits_; }
    // Bytes that Verilator keeps it in.
    uint32_t size() const {
        return bits_ <= 8 ? 1 : bits_ <= 16 ? 2 : bits_ <= 32 ? 4 : bits_ <= 64 ? 8 : words() * 4;
    }
    uint32_t words() const { return (bits_ + 31) / 32; }

    uint8_t *bytes() const { return at_; }
    bool flag() const { return *at_ != 0; }
    void flag(bool value) const { *at_ = value; }
    void byte(uint8_t value) const { *at_ = value; }
    void clear() const { std::memset(at_, 0, size()); }

    void read(uint32_t *to) const {
        to[words() - 1] = 0;
        std::memcpy(to, at_, bits_ <= 32 ? size() : words() * 4);
    }

    // Bits above the port's width are dropped: Verilator counts on their being 0.
    void write(const uint32_t *from) const {
        std::memcpy(at_, from, bits_ <= 32 ? size() : words() * 4);
        if (bits_ % 8 != 0) {
            at_[bits_ / 8] &= static_cast<uint8_t>((1u << (bits_ % 8)) - 1);
            std::memset(at_ + bits_ / 8 + 1, 0, size() - bits_ / 8 - 1);
        } else {
            std::memset(at_ + bits_ / 8, 0, size() - bits_ / 8);
        }
    }

private:
    uint8_t *at_ = nullptr;
    uint32_t bits_ = 0;
};

// The pins of one device.
class Pins {
public:
    explicit Pins(Vdevice &model) : at_(pin_count) { bind_pins(model, at_.data()); }

    Pin at(uint32_t index) const { return {at_[index], pin_table[index].bits}; }

    bool has(std::string_view name) const { return index(name) < pin_count; }

    // A pin that the top doesn't have reads 0 and goes nowhere, each to its own.
    Pin find(std::string_view name) {
        const uint32_t place = index(name);
        return place < pin_count ? at(place) : Pin(&nowhere_.emplace_back(0), 8);
    }

private:
    static uint32_t index(std::string_view name) {
        uint32_t place = 0;
        while (place < pin_count && name != pin_table[place].name) {
            ++place;
        }
        return place;
    }

    std::vector<void *> at_;
    std::deque<uint64_t> nowhere_;
};

}  // namespace tailrace
