// What BFMs have to tell Python.

#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "api.hpp"

namespace tailrace {

struct Payload {
    const void *data = nullptr;
    uint32_t length = 0;
};

// Events with their payloads. What was fetched stays where it is until the next stride.
class Events {
public:
    void add(uint32_t kind, uint32_t device, uint64_t time, const uint64_t (&values)[4],
             Payload payload) {
        Batch &batch = *filling_;
        batch.offsets.push_back(batch.bytes.size());
        batch.events.push_back({kind, device, time, values[0], values[1], values[2], values[3],
                                payload.length, nullptr});
        const auto *data = static_cast<const uint8_t *>(payload.data);
        batch.bytes.insert(batch.bytes.end(), data, data + payload.length);
    }

    uint32_t fetch(const tr_event **events) {
        fetched_.push_back(std::move(filling_));
        filling_ = take();
        Batch &batch = *fetched_.back();
        for (size_t index = 0; index < batch.events.size(); ++index) {
            batch.events[index].data = batch.bytes.data() + batch.offsets[index];
        }
        *events = batch.events.data();
        return static_cast<uint32_t>(batch.events.size());
    }

    // A new stride begins: what was fetched is gone.
    void forget() {
        while (!fetched_.empty()) {
            fetched_.back()->clear();
            spare_.push_back(std::move(fetched_.back()));
            fetched_.pop_back();
        }
    }

private:
    struct Batch {
        std::vector<tr_event> events;
        std::vector<size_t> offsets;
        std::vector<uint8_t> bytes;

        void clear() {
            events.clear();
            offsets.clear();
            bytes.clear();
        }
    };

    std::unique_ptr<Batch> take() {
        if (spare_.empty()) {
            return std::make_unique<Batch>();
        }
        std::unique_ptr<Batch> batch = std::move(spare_.back());
        spare_.pop_back();
        return batch;
    }

    std::unique_ptr<Batch> filling_ = std::make_unique<Batch>();
    std::vector<std::unique_ptr<Batch>> fetched_, spare_;
};

// The world's time and events, as a BFM of one device sees them.
class Reporter {
public:
    Reporter(Events &events, const uint64_t &now, bool &urgent, uint64_t &deadline,
             uint32_t device)
        : events_(events), now_(now), urgent_(urgent), deadline_(deadline), device_(device) {}

    uint64_t now() const { return now_; }

    // Something that ends the stride behind this edge.
    void report(uint32_t kind, uint64_t a = 0, uint64_t b = 0, uint64_t c = 0, uint64_t d = 0,
                Payload payload = {}) {
        urgent_ = true;
        events_.add(kind, device_, now_, {a, b, c, d}, payload);
    }

    // Something that ends the stride in `wait` picoseconds at the latest.
    void report_later(uint64_t wait, uint32_t kind, const uint64_t (&values)[4], Payload payload) {
        deadline_ = now_ + wait < deadline_ ? now_ + wait : deadline_;
        events_.add(kind, device_, now_, values, payload);
    }

    void broken(std::string_view text) {
        report(TR_BROKEN, 0, 0, 0, 0, {text.data(), static_cast<uint32_t>(text.size())});
    }

private:
    Events &events_;
    const uint64_t &now_;
    bool &urgent_;
    uint64_t &deadline_;
    uint32_t device_;
};

}  // namespace tailrace
