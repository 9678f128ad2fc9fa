#include "axi_memory.hpp"

#include <algorithm>
#include <cstring>

namespace tailrace {

constexpr uint32_t most_beats = 256;
enum Channel : uint32_t { aw = 0, w, b, ar, r };

static std::string port(uint32_t index, const char *rest = "") {
    return "mem" + std::to_string(index) + rest;
}

static std::array<Random, 5> stall_generators(uint64_t seed, uint64_t first) {
    const auto made = [&](uint64_t channel) {
        return Random(seed, Purpose::axi_stall, first + channel);
    };
    return {made(aw), made(w), made(b), made(ar), made(r)};
}

AxiMemory::AxiMemory(Pins &pins, Reporter &reporter, uint64_t seed, uint32_t device,
                     uint32_t index)
    : name_(port(index)),
      aw_(pins, reporter, name_, "aw", pins.find(port(index, "__wdata")).bits() / 8),
      ar_(pins, reporter, name_, "ar", pins.find(port(index, "__rdata")).bits() / 8),
      w_(pins, reporter, name_, "w",
         {pins.find(port(index, "__wdata")), pins.find(port(index, "__wstrb")),
          pins.find(port(index, "__wlast"))}),
      wdata_(pins.find(port(index, "__wdata"))), wstrb_(pins.find(port(index, "__wstrb"))),
      wlast_(pins.find(port(index, "__wlast"))), bid_(pins.find(port(index, "__bid"))),
      bresp_(pins.find(port(index, "__bresp"))), bvalid_(pins.find(port(index, "__bvalid"))),
      bready_(pins.find(port(index, "__bready"))), rid_(pins.find(port(index, "__rid"))),
      rdata_(pins.find(port(index, "__rdata"))), rresp_(pins.find(port(index, "__rresp"))),
      rlast_(pins.find(port(index, "__rlast"))), rvalid_(pins.find(port(index, "__rvalid"))),
      rready_(pins.find(port(index, "__rready"))), reporter_(reporter),
      latency_(seed, Purpose::axi_latency, uint64_t{device} << 8 | index),
      reorder_(seed, Purpose::axi_reorder, uint64_t{device} << 8 | index),
      stalls_(stall_generators(seed, (uint64_t{device} << 8 | index) << 3)),
      lanes_(std::max(wdata_.bits(), rdata_.bits()) / 8) {}

void AxiMemory::attach(uint8_t *data, uint64_t base, uint64_t size) {
    memory_ = data;
    base_ = base;
    size_ = size;
}

uint64_t AxiMemory::due() {
    const uint64_t jitter = settings.jitter != 0 ? latency_.below(settings.jitter + 1) : 0;
    return reporter_.now() + settings.latency + jitter;
}

// Responses

uint32_t AxiMemory::response_at(uint64_t address, uint32_t bytes) const {
    const uint64_t offset = address - base_;
    if (address < base_ || offset >= size_ || bytes > size_ - offset) {
        return axi_decerr;
    }
    for (const Range &range : faults) {
        if (address < range.high && range.low < address + bytes) {
            return range.response;
        }
    }
    return axi_okay;
}

// Which burst goes on now: the oldest of an id, if it is due; `none` if there is none.
template <typename Burst>
size_t AxiMemory::choose(const std::deque<Burst> &bursts, Random &random) {
    const size_t window = std::min<size_t>(std::max(settings.reorder, 1u), bursts.size());
    std::array<size_t, 256> ready;
    size_t count = 0;
    for (size_t index = 0; index < window && count < ready.size(); ++index) {
        const auto same = [&](const Burst &other) {
            return other.burst.id == bursts[index].burst.id;
        };
        const auto here = bursts.begin() + static_cast<std::ptrdiff_t>(index);
        if (bursts[index].due <= reporter_.now() && std::none_of(bursts.begin(), here, same)) {
            ready[count++] = index;
        }
    }
    return count == 0 ? none : ready[count > 1 ? random.below(count) : 0];
}

// Writes

void AxiMemory::take_data() {
    if (data_.empty() || data_.back()->complete) {
        if (spare_.empty()) {
            spare_.push_back(std::make_unique<Data>());
        }
        data_.push_back(std::move(spare_.back()));
        spare_.pop_back();
        data_.back()->bytes.clear();
        data_.back()->strobes.clear();
        data_.back()->beats = 0;
        data_.back()->complete = false;
    }
    Data &data = *data_.back();
    settings.write_beats += 1;
    data.bytes.insert(data.bytes.end(), wdata_.bytes(), wdata_.bytes() + lanes_);
    data.strobes.insert(data.strobes.end(), wstrb_.bytes(), wstrb_.bytes() + (lanes_ + 7) / 8);
    data.beats += 1;
    const bool known = data_.size() == 1 && !addresses_.empty();
    data.complete = wlast_.flag();
    if (!data.complete && data.beats == (known ? addresses_.front().beats : most_beats)) {
        broken("wlast is 0 in the last beat of a burst");
        data.complete = true;
    }
}

// Strobes may be set for the bytes of a beat only (IHI 0022, "Write strobes").
void AxiMemory::check_strobes(const AxiBurst &burst, const Data &data) {
    const uint32_t width = (lanes_ + 7) / 8;
    for (uint32_t beat = 0; beat < std::min(burst.beats, data.beats); ++beat) {
        const auto first = static_cast<uint32_t>(burst.beat(beat) % lanes_);
        const uint32_t end = first + burst.bytes_of(beat);
        for (uint32_t lane = 0; lane < lanes_; ++lane) {
            const bool set = (data.strobes[beat * width + lane / 8] >> lane % 8 & 1) != 0;
            if (set && (lane < first || lane >= end)) {
                broken("wstrb: a strobe outside of the beat's bytes");
                return;
            }
        }
    }
}

// Addresses and data meet, in order: AXI4 has no id on W.
void AxiMemory::match() {
    while (!addresses_.empty() && !data_.empty() && data_.front()->complete) {
        const AxiBurst burst = addresses_.front();
        if (data_.front()->beats != burst.beats) {
            broken("wlast ends a burst behind " + std::to_string(data_.front()->beats) +
                   " beats, awlen says " + std::to_string(burst.beats));
        }
        check_strobes(burst, *data_.front());
        writes_.push_back({burst, due(), std::move(data_.front())});
        addresses_.pop_front();
        data_.pop_front();
    }
}

// The bytes of a write into memory; beats with an error leave theirs alone.
uint32_t AxiMemory::store(const Write &write) {
    const AxiBurst &burst = write.burst;
    const uint32_t width = (lanes_ + 7) / 8;
    uint32_t worst = axi_okay;
    for (uint32_t beat = 0; beat < std::min(burst.beats, write.data->beats); ++beat) {
        const uint64_t address = burst.beat(beat);
        const uint32_t bytes = burst.bytes_of(beat);
        const uint32_t response = response_at(address, bytes);
        if (response != axi_okay) {
            worst = worst == axi_okay ? response : worst;
            continue;
        }
        const auto first = static_cast<uint32_t>(address % lanes_);
        const uint8_t *from = write.data->bytes.data() + size_t{beat} * lanes_ + first;
        uint8_t *to = memory_ + (address - base_);
        for (uint32_t byte = 0; byte < bytes; ++byte) {
            const uint32_t lane = first + byte;
            if ((write.data->strobes[beat * width + lane / 8] >> lane % 8 & 1) != 0) {
                to[byte] = from[byte];
            }
        }
    }
    return worst;
}

void AxiMemory::offer_response() {
    if (bvalid_.flag() && !bready_.flag()) {
        return;
    }
    const size_t place = stalls_[b].chance(settings.stall_b, 256) ? none : choose(writes_, reorder_);
    bvalid_.flag(place != none);
    if (place == none) {
        return;
    }
    Write &write = writes_[place];
    const uint32_t id = write.burst.id, response = store(write);
    bid_.clear();
    std::memcpy(bid_.bytes(), &id, std::min<size_t>(bid_.size(), sizeof id));
    bresp_.byte(static_cast<uint8_t>(response));
    settings.write_bursts += 1;
    settings.errors += response != axi_okay;
    spare_.push_back(std::move(write.data));
    writes_.erase(writes_.begin() + static_cast<std::ptrdiff_t>(place));
}

// Reads

void AxiMemory::offer_data() {
    if (rvalid_.flag() && !rready_.flag()) {
        return;
    }
    bool valid = !stalls_[r].chance(settings.stall_r, 256);
    if (valid && (reading_ == none || settings.interleave != 0)) {
        reading_ = choose(reads_, reorder_);
    }
    valid = valid && reading_ != none;
    rvalid_.flag(valid);
    if (!valid) {
        return;
    }
    Read &read = reads_[reading_];
    const AxiBurst &burst = read.burst;
    const uint64_t address = burst.beat(read.done);
    const uint32_t bytes = burst.bytes_of(read.done), response = response_at(address, bytes);
    rdata_.clear();
    if (response == axi_okay) {
        std::memcpy(rdata_.bytes() + address % lanes_, memory_ + (address - base_), bytes);
    }
    rid_.clear();
    std::memcpy(rid_.bytes(), &burst.id, std::min<size_t>(rid_.size(), sizeof burst.id));
    rresp_.byte(static_cast<uint8_t>(response));
    read.done += 1;
    const bool last = read.done == burst.beats;
    rlast_.flag(last);
    settings.read_beats += 1;
    settings.errors += response != axi_okay;
    if (last) {
        settings.read_bursts += 1;
        reads_.erase(reads_.begin() + static_cast<std::ptrdiff_t>(reading_));
        reading_ = none;
    }
}

// Cycles

void AxiMemory::sample() {
    AxiBurst burst;
    if (aw_.sample(burst)) {
        addresses_.push_back(burst);
    }
    if (w_.sample()) {
        take_data();
    }
    match();
    if (ar_.sample(burst)) {
        reads_.push_back({burst, due(), 0});
    }
}

void AxiMemory::drive() {
    was_valid_in_reset_ = false;
    offer_response();
    offer_data();
    const size_t most = std::max(settings.outstanding, 1u);
    const bool room = addresses_.size() + writes_.size() < most;
    // Data may come before its address. What has begun is taken to its end.
    const bool begun = !data_.empty() && !data_.back()->complete;
    const bool data_room = begun || data_.size() + writes_.size() < most;
    aw_.ready(room && !stalls_[aw].chance(settings.stall_aw, 256));
    w_.ready(data_room && !stalls_[w].chance(settings.stall_w, 256));
    ar_.ready(reads_.size() < most && !stalls_[ar].chance(settings.stall_ar, 256));
}

void AxiMemory::reset() {
    if (!was_valid_in_reset_ && (aw_.valid() || w_.valid() || ar_.valid())) {
        was_valid_in_reset_ = true;
        broken("awvalid, wvalid or arvalid is 1 in reset");
    }
    aw_.reset();
    w_.reset();
    ar_.reset();
    for (const Pin &pin : {bid_, bresp_, bvalid_, rid_, rdata_, rresp_, rlast_, rvalid_}) {
        pin.clear();
    }
    addresses_.clear();
    data_.clear();
    writes_.clear();
    reads_.clear();
    reading_ = none;
}

}  // namespace tailrace
