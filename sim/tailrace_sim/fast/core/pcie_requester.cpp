#include "pcie_requester.hpp"

#include <algorithm>
#include <cstdio>
#include <cstring>

namespace tailrace {

constexpr uint64_t message_base = 0xFEE00000, message_end = 0xFEF00000;
constexpr uint64_t never = ~uint64_t{0};
constexpr uint64_t page = 4096;

Requester::Requester(Pins &pins, tr_pcie &settings, Reporter &reporter, uint64_t seed,
                     uint32_t device)
    : status_(pins.find("pcie__cfg_function_status")),
      number_{pins.find("pcie__pcie_rq_seq_num0"), pins.find("pcie__pcie_rq_seq_num1")},
      number_valid_{pins.find("pcie__pcie_rq_seq_num_vld0"),
                    pins.find("pcie__pcie_rq_seq_num_vld1")},
      settings_(settings), reporter_(reporter), completer_(settings, seed, device) {
    for (uint32_t function = 0; function < spaces.size(); ++function) {
        spaces[function] = std::make_unique<Space>(completer_, reporter_, function);
    }
}

// The memory that its function has of its own; null if that is the host's.
Space *Requester::own(const Request &request) const {
    Space *space = spaces[request.function()].get();
    return space->settings.own != 0 ? space : nullptr;
}

bool Requester::full() const {
    return std::any_of(spaces.begin(), spaces.end(),
                       [](const auto &space) { return space->full(); });
}

bool Requester::masters_bus(uint32_t function) const {
    return function < 4 && bits_of(status_.bytes(), 4 * function + 2, 1) != 0;
}

bool Requester::is_message(const Request &request) const {
    if (const Space *space = own(request)) {
        return space->is_interrupt(request.address());
    }
    return message_base <= request.address() && request.address() < message_end;
}

// Requests

bool Requester::is_well_formed(const Request &request) {
    const uint32_t length = request.length();
    const uint32_t carried = request.count - request_header;
    const char *wrong = nullptr;
    if (request.type() > memory_write) {
        wrong = "is neither a memory read nor a memory write";
    } else if (carried != (request.type() == memory_write ? length : 0)) {
        wrong = "has a payload of another length";
    } else if (length == 0 || length > max_dwords) {
        wrong = "has a length of 0 or above 4096 bytes";
    } else if (request.address() % page + 4 * length > page) {
        wrong = "crosses a 4 KiB boundary";
    }
    if (wrong != nullptr) {
        char text[160];
        std::snprintf(text, sizeof text,
                      "rq: a request of type %u to %#llx, %u dwords with %u of payload, %s",
                      request.type(), static_cast<unsigned long long>(request.address()), length,
                      carried, wrong);
        reporter_.broken(text);
    }
    return wrong == nullptr;
}

void Requester::report(uint32_t kind, const Request &request, uint64_t a, uint64_t b) {
    reporter_.report(kind, a, b, 0, 0, {request.dwords.data(), 4 * request.count});
}

void Requester::count(const Request &request, uint64_t cycle) {
    const auto note = [cycle](uint64_t &first, uint64_t &last) {
        last = cycle;
        if (first == never) {
            first = cycle;
        }
    };
    if (request.type() == memory_read) {
        settings_.read_tlps += 1;
        settings_.read_bytes += byte_count(request);
        note(settings_.first_read, settings_.last_read);
    } else if (is_message(request)) {
        settings_.interrupts += 1;
        settings_.last_interrupt = cycle;
    } else {
        settings_.write_tlps += 1;
        settings_.write_bytes += byte_count(request);
        note(settings_.first_write, settings_.last_write);
    }
}

void Requester::take(const Request &request, uint64_t cycle) {
    if (request.discontinue || !is_well_formed(request)) {
        return;
    }
    if (settings_.export_requests != 0) {
        report(TR_REQUEST, request, request.first_be | request.last_be << 4, cycle);
    }
    count(request, cycle);
    const uint32_t requester = request.names_requester()
                                   ? request.requester()
                                   : (request.requester() & 0xFF) | settings_.bus_number << 8;
    if (request.type() == memory_read) {
        read(request, requester);
        return;
    }
    const bool master = masters_bus(request.function());
    Space *space = own(request);
    if (master && space != nullptr) {
        space->take(request, requester);
    } else if (master) {
        write(request);
    } else if (space != nullptr) {
        space->refuse_master(request);
    }
    if (master || settings_.report_dropped != 0) {
        numbers_.push_back(static_cast<uint8_t>(request.seq_num));
    }
}

void Requester::read(const Request &request, uint32_t requester) {
    Active &active = active_[request.tag()];
    if (active.busy) {
        char text[80];
        std::snprintf(text, sizeof text, "rq: tag %u is used again while it is active",
                      request.tag());
        reporter_.broken(text);
        return;
    }
    active = {true, reporter_.now(), request.address(), request.length(), request.first_be,
              request.last_be, requester, request.traffic_class(), request.attributes()};
    settings_.outstanding += 1;
    if (timeout_ != 0) {
        next_look_ = std::min(next_look_, active.since + timeout_);
    }
    // A function level reset takes Bus Master and Extended Tag away at once, while requests are
    // still on their way through the design.
    Space *space = own(request);
    if (!masters_bus(request.function())) {
        if (space != nullptr) {
            space->refuse_master(request);
        }
        give_up(request.tag(), bad_status);
        return;
    }
    if (request.tag() >= 32 && (settings_.extended_tag >> request.function() & 1) == 0) {
        char text[80];
        std::snprintf(text, sizeof text, "rq: tag %u is out of range", request.tag());
        reporter_.broken(text);
    }
    const uint32_t size = 4 * request.length();
    if (space != nullptr) {
        space->take(request, requester);
    } else if (!memory.allows(request.address(), size, request.function())) {
        export_dma(TR_REFUSED, request);
        completer_.refuse(request, requester, reporter_.now());
    } else {
        if (is_fault(request)) {
            report(TR_TAKEN, request, request.first_be | request.last_be << 4, 0);
        } else {
            completer_.answer(request, requester, memory.at(request.address()), reporter_.now());
            if (settings_.export_dma != 0) {
                export_dma(TR_DMA, request);
            }
        }
    }
    numbers_.push_back(static_cast<uint8_t>(request.seq_num));
}

bool Requester::is_fault(const Request &request) const {
    const uint64_t low = request.address(), high = low + 4 * request.length();
    return std::any_of(faults.begin(), faults.end(), [&](const Range &range) {
        return low < range.high && range.low < high;
    });
}

void Requester::write(const Request &request) {
    if (is_message(request)) {
        if (request.length() != 1 || request.first_be != 15) {
            reporter_.broken("rq: an MSI-X message is no dword");
            return;
        }
        reporter_.report(TR_INTERRUPT, request.payload()[0], request.address(),
                         request.function());
        return;
    }
    if (!memory.allows(request.address(), 4 * request.length(), request.function())) {
        export_dma(TR_REFUSED, request);
        return;
    }
    memory.write(request);
    if (settings_.export_dma != 0) {
        export_dma(TR_DMA, request);
    }
}

void Requester::export_dma(uint32_t kind, const Request &request) {
    reporter_.report(kind, request.type() == memory_write,
                     request.address() + bytes_before(request.first_be), request.function(),
                     byte_count(request));
}

// Completions

void Requester::release(uint32_t tag) {
    if (active_[tag].busy) {
        active_[tag].busy = false;
        settings_.outstanding -= 1;
    }
}

// What the block makes of a completion: its error code, and whether it is the last one.
void Requester::judge(CompletionFields &fields) {
    const Active &active = active_[fields.tag];
    fields.completed = false;
    if (fields.poisoned) {
        fields.error = poisoned;
    }
    if (!active.busy) {
        fields.error = invalid_tag;
        return;
    }
    if (fields.requester != active.requester || fields.attributes != active.attributes ||
        fields.traffic_class != active.traffic_class) {
        fields.error = mismatch;
        return;
    }
    if (fields.status != 0) {
        fields.error = bad_status;
        fields.completed = true;
        release(fields.tag);
        return;
    }
    // The link carries 7 bits of the address; the block puts the others back.
    const auto expected = static_cast<uint32_t>(
        active.address + bytes_before(active.first_be) +
        byte_count(active.length, active.first_be, active.last_be) - fields.byte_count);
    if (((fields.lower_address ^ expected) & 0x7F) != 0) {
        fields.error = invalid_address;
    } else {
        fields.lower_address = expected & 0xFFF;
    }
    if (fields.length == 0) {
        fields.error = invalid_length;
    }
    if (fields.length == 0 ||
        fields.byte_count <= 4 * fields.length - (fields.lower_address & 3)) {
        fields.completed = true;
        release(fields.tag);
    }
}

bool Requester::next(Completion &completion) {
    if (!immediate_.empty()) {
        const Completion &first = immediate_.front();
        completion.count = first.count;
        completion.offset = first.offset;
        completion.used = first.used;
        completion.discontinue = first.discontinue;
        std::copy_n(first.dwords.begin(), first.count, completion.dwords.begin());
        immediate_.pop_front();
        return true;
    }
    Answered answered;
    if (!completer_.next(reporter_.now(), answered)) {
        return false;
    }
    judge(answered.fields);
    const uint32_t length = answered.fields.length;
    answered.fields.pack(completion.dwords.data());
    std::memcpy(completion.dwords.data() + completion_header, answered.data, 4 * length);
    completion.count = completion_header + length;
    completion.offset = answered.fields.lower_address & 3;
    completion.used =
        length == 0 ? 0 : std::min(answered.fields.byte_count, 4 * length - completion.offset);
    completion.discontinue = false;
    return true;
}

void Requester::complete(const uint32_t *dwords, uint32_t count, bool discontinue) {
    if (count < completion_header || count > completion_header + max_dwords) {
        return;
    }
    Completion &completion = immediate_.emplace_back();
    std::copy_n(dwords, count, completion.dwords.begin());
    completion.count = count;
    completion.discontinue = discontinue;
    completion.offset = dwords[0] & 3;
    if (count > completion_header) {
        completion.used = std::min((dwords[0] >> 16) & 0x1FFF,
                                   4 * (count - completion_header) - completion.offset);
    }
    CompletionFields fields = CompletionFields::unpack(dwords);
    if (fields.error == no_error) {
        judge(fields);
        fields.pack(completion.dwords.data());
    } else if (fields.completed) {
        release(fields.tag);
    }
}

// Ends

void Requester::give_up(uint32_t tag, uint32_t code) {
    const Active &active = active_[tag];
    spaces[active.requester & 7]->forget(tag);
    CompletionFields fields;
    fields.error = code;
    // That code stands for a completion with UR, CA or CRS, so one of them is in the descriptor.
    fields.status = code == bad_status ? status_unsupported : 0;
    fields.requester = active.requester;
    fields.tag = tag;
    fields.traffic_class = active.traffic_class;
    fields.attributes = active.attributes;
    fields.completed = true;
    Completion &completion = immediate_.emplace_back();
    fields.pack(completion.dwords.data());
    completion.count = completion_header;
    release(tag);
    reporter_.report(TR_LOCAL, tag, code);
}

void Requester::end(uint32_t function, uint32_t code) {
    for (uint32_t tag = 0; tag < active_.size(); ++tag) {
        if (active_[tag].busy && (function == 255 || (active_[tag].requester & 7) == function)) {
            give_up(tag, code);
        }
    }
}

void Requester::look_for_timeouts() {
    timeout_ = settings_.timeout;
    next_look_ = never;
    for (uint32_t tag = 0; timeout_ != 0 && tag < active_.size(); ++tag) {
        if (!active_[tag].busy) {
            continue;
        }
        const uint64_t until = active_[tag].since + timeout_;
        if (until <= reporter_.now()) {
            give_up(tag, timed_out);
        } else {
            next_look_ = std::min(next_look_, until);
        }
    }
}

// Cycles

void Requester::sample() {
    numbers_due_ = numbers_.size();
    if (settings_.timeout != timeout_ || reporter_.now() >= next_look_) {
        look_for_timeouts();
    }
}

void Requester::drive() {
    for (int channel = 0; channel < 2; ++channel) {
        const bool valid = numbers_due_ != 0;
        number_valid_[channel].flag(valid);
        if (valid) {
            number_[channel].byte(numbers_.front());
            numbers_.pop_front();
            numbers_due_ -= 1;
        }
    }
}

void Requester::reset() {
    for (uint32_t tag = 0; tag < active_.size(); ++tag) {
        release(tag);
    }
    for (const auto &space : spaces) {
        space->end();
    }
    completer_.reset();
    immediate_.clear();
    numbers_.clear();
    numbers_due_ = 0;
    for (int channel = 0; channel < 2; ++channel) {
        number_valid_[channel].flag(false);
        number_[channel].byte(0);
    }
}

}  // namespace tailrace
