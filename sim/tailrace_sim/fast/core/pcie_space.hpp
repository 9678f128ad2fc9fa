// The memory of a client, as one function reaches it: maps that come and go.

#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <unordered_map>
#include <vector>

#include "api.hpp"
#include "events.hpp"
#include "pcie_memory.hpp"
#include "pcie_tlp.hpp"

namespace tailrace {

// A piece of the client's memory. Its bytes are here, or are asked of the client by messages.
class Map {
public:
    Map(uint64_t size, uint32_t access) : size(size), access(access) {}
    ~Map();
    Map(const Map &) = delete;
    Map &operator=(const Map &) = delete;

    // Bytes of a file from `offset` on. Returns 0 or an errno.
    int32_t attach(int32_t fd, uint64_t offset);

    const uint64_t size;
    const uint32_t access;  // TR_MAP_READ, TR_MAP_WRITE
    uint8_t *bytes = nullptr;

private:
    void *mapping_ = nullptr;
    uint64_t mapped_ = 0;
};

// Posted writes take effect in their order, and a read sees those before it. Writes by message are
// in effect when the client has answered; what needs bytes, or is an interrupt, waits for that.
class Space {
public:
    Space(Completer &completer, Reporter &reporter, uint32_t function)
        : completer_(completer), reporter_(reporter), function_(function) {}

    tr_space settings = {.message_limit = 4 * max_dwords};

    int32_t map(int32_t fd, uint64_t offset, uint64_t base, uint64_t size, uint32_t access);
    int32_t unmap(uint64_t base, uint64_t size);
    void unmap_all() { maps_.clear(); }

    bool is_interrupt(uint64_t address) const {
        return address - settings.interrupt_base < 4096;
    }
    // A request that the block let through, or did not for want of Bus Master.
    void take(const Request &request, uint32_t requester);
    void refuse_master(const Request &request);

    // The client's answer to a message.
    void answer(uint64_t id, const uint8_t *data, uint64_t length, bool good);
    // A read that the block has given up.
    void forget(uint32_t tag);
    // Drop writes that wait, and refuse the reads.
    void end();
    // No further request should come now.
    bool full() const { return held_.size() >= most_held || messages_.size() >= most_held; }

private:
    static constexpr size_t most_held = 1024;

    // Bytes that are next to each other: in the TLP's payload, and in the client's memory.
    struct Run {
        uint64_t address;
        uint32_t offset, length;
        Map *map;
        uint64_t place;  // in the map
    };
    struct Held {
        Request request;
        uint32_t requester;
    };
    // A read that waits for messages.
    struct Read {
        Held held;
        uint64_t number;
        uint32_t left = 0;
        bool good = true;
        std::array<uint8_t, 4 * max_dwords> data;
    };
    struct Message {
        bool write;
        uint64_t number;  // of the read
        uint32_t tag, offset, length;
    };

    Map *find(uint64_t address, uint64_t &base);
    void add_runs(uint64_t address, uint32_t offset, uint32_t length);
    void plan(const Request &request);
    bool may_start() const;
    void start(const Request &request, uint32_t requester);
    void start_write(const Request &request);
    void start_read(const Request &request, uint32_t requester);
    void interrupt(const Request &request);
    void refuse(const Request &request, uint32_t reason);
    void send(const Run &run, const Request &request, uint64_t number);
    void finish(Read &read);
    void drain();

    Completer &completer_;
    Reporter &reporter_;
    const uint32_t function_;
    std::map<uint64_t, std::unique_ptr<Map>> maps_;  // by base
    // Of the request that is looked at.
    std::vector<Run> runs_;
    uint32_t reason_ = 0;
    bool interrupt_ = false, bytes_ = false;

    std::deque<std::unique_ptr<Held>> held_;
    std::unordered_map<uint32_t, std::unique_ptr<Read>> reads_;  // by tag
    std::unordered_map<uint64_t, Message> messages_;             // by id
    uint64_t next_ = 1, unanswered_ = 0;                         // writes
};

}  // namespace tailrace
