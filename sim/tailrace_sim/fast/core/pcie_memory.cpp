#include "pcie_memory.hpp"

#include <algorithm>
#include <cstring>

namespace tailrace {

constexpr uint64_t page = 4096;

void HostMemory::attach(uint8_t *data, uint64_t base, uint64_t size, const uint8_t *mapped) {
    data_ = data;
    base_ = base;
    size_ = size;
    mapped_ = mapped;
}

bool HostMemory::allows(uint64_t address, uint64_t length, uint32_t function) const {
    const uint64_t offset = address - base_;
    return address >= base_ && offset < size_ && length <= size_ - offset &&
           (mapped_[offset / page] >> function & 1) != 0;
}

void HostMemory::write(const Request &request) {
    uint8_t *to = data_ + (request.address() - base_);
    const auto *from = reinterpret_cast<const uint8_t *>(request.payload());
    const uint32_t size = 4 * request.length();
    const auto enabled = [&](uint32_t place, uint32_t enables) {
        if (enables == 15) {
            std::memcpy(to + place, from + place, 4);
            return;
        }
        for (uint32_t byte = 0; byte < 4; ++byte) {
            if ((enables >> byte & 1) != 0) {
                to[place + byte] = from[place + byte];
            }
        }
    };
    if (size == 0) {
        return;
    }
    enabled(0, request.first_be);
    if (size > 4) {
        std::memcpy(to + 4, from + 4, size - 8);
        enabled(size - 4, request.last_be);
    }
}

Completer::Completer(const tr_pcie &settings, uint64_t seed, uint32_t device)
    : settings_(settings), latency_(seed, Purpose::latency, device),
      reorder_(seed, Purpose::reorder, device), split_(seed, Purpose::split, device) {}

Completer::Answer &Completer::enqueue(const Request &request, uint32_t requester, uint64_t now) {
    std::unique_ptr<Answer> answer;
    if (spare_.empty()) {
        answer = std::make_unique<Answer>();
    } else {
        answer = std::move(spare_.back());
        spare_.pop_back();
    }
    answer->due = now + settings_.latency;
    if (settings_.jitter != 0) {
        answer->due += latency_.below(settings_.jitter + 1);
    }
    answer->start = answer->origin = request.address();
    answer->end = answer->start + 4 * request.length();
    answer->left = byte_count(request);
    answer->offset = bytes_before(request.first_be);
    answer->split = settings_.split;
    answer->rcb = std::max(settings_.rcb, 4u);
    answer->limit = std::max(settings_.max_payload, answer->rcb);
    answer->fields = {};
    answer->fields.requester = requester;
    answer->fields.tag = request.tag();
    answer->fields.traffic_class = request.traffic_class();
    answer->fields.attributes = request.attributes();
    answers_.push_back(std::move(answer));
    return *answers_.back();
}

void Completer::answer(const Request &request, uint32_t requester, const uint8_t *data,
                       uint64_t now) {
    Answer &answer = enqueue(request, requester, now);
    std::memcpy(answer.data.data(), data, 4 * request.length());
}

void Completer::refuse(const Request &request, uint32_t requester, uint64_t now) {
    enqueue(request, requester, now).fields.status = status_unsupported;
}

// All but the last completion end at a read completion boundary (PCIe 5.0, 2.3.1.1).
uint64_t Completer::stop_of(const Answer &answer) {
    const uint64_t boundary = ~uint64_t{answer.rcb - 1};
    uint64_t stop = (answer.start + answer.limit) & boundary;
    if (answer.split != 0) {
        const uint64_t first = (answer.start & boundary) + answer.rcb;
        const uint64_t choices = stop > first ? (stop - first) / answer.rcb + 1 : 1;
        stop = answer.split == 1 ? first : first + answer.rcb * split_.below(choices);
    }
    return std::min(stop, answer.end);
}

// Which answer goes on now; the number of answers if none is due.
size_t Completer::choose(uint64_t now) {
    const size_t window = std::min<size_t>(std::max(settings_.reorder, 1u), answers_.size());
    const auto is_due = [&](size_t index) { return answers_[index]->due <= now; };
    uint64_t due = 0;
    for (size_t index = 0; index < window; ++index) {
        due += is_due(index);
    }
    if (due == 0) {
        return answers_.size();
    }
    uint64_t pick = due > 1 ? reorder_.below(due) : 0;
    size_t index = 0;
    while (!is_due(index) || pick-- != 0) {
        ++index;
    }
    return index;
}

bool Completer::next(uint64_t now, Answered &answered) {
    const size_t place = choose(now);
    if (place == answers_.size()) {
        return false;
    }
    Answer &answer = *answers_[place];
    const bool refused = answer.fields.status != 0;
    const uint64_t stop = refused ? answer.end : stop_of(answer);
    answered.fields = answer.fields;
    answered.fields.lower_address = static_cast<uint32_t>(answer.start + answer.offset) & 0x7F;
    answered.fields.byte_count = answer.left;
    answered.fields.length = refused ? 0 : static_cast<uint32_t>(stop - answer.start) / 4;
    answered.data = answer.data.data() + (answer.start - answer.origin);
    answer.left -= static_cast<uint32_t>(stop - answer.start) - answer.offset;
    answer.start = stop;
    answer.offset = 0;
    if (stop == answer.end) {
        if (sent_) {
            spare_.push_back(std::move(sent_));
        }
        sent_ = std::move(answers_[place]);
        answers_.erase(answers_.begin() + static_cast<std::ptrdiff_t>(place));
    }
    return true;
}

void Completer::reset() {
    while (!answers_.empty()) {
        spare_.push_back(std::move(answers_.back()));
        answers_.pop_back();
    }
}

}  // namespace tailrace
