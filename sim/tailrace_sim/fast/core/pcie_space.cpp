#include "pcie_space.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <sys/mman.h>
#include <sys/stat.h>

#include "guarded_copy.hpp"

namespace tailrace {

constexpr uint64_t page = 4096;

// Maps

Map::~Map() {
    if (mapping_ != nullptr) {
        munmap(mapping_, mapped_);
    }
}

int32_t Map::attach(int32_t fd, uint64_t offset) {
    struct stat status;
    if (fstat(fd, &status) != 0) {
        return errno;
    }
    const auto end = static_cast<uint64_t>(status.st_size);
    if (S_ISREG(status.st_mode) && (offset > end || size > end - offset)) {
        return EINVAL;
    }
    const uint64_t skip = offset % page;
    const int protection = ((access & TR_MAP_READ) != 0 ? PROT_READ : 0) |
                           ((access & TR_MAP_WRITE) != 0 ? PROT_WRITE : 0);
    void *mapping = mmap(nullptr, size + skip, protection, MAP_SHARED | MAP_NORESERVE, fd,
                         static_cast<off_t>(offset - skip));
    if (mapping == MAP_FAILED) {
        return errno;
    }
    mapping_ = mapping;
    mapped_ = size + skip;
    bytes = static_cast<uint8_t *>(mapping) + skip;
    return 0;
}

int32_t Space::map(int32_t fd, uint64_t offset, uint64_t base, uint64_t size, uint32_t access) {
    if (size == 0 || base + size - 1 < base || offset + size < offset) {
        return EINVAL;
    }
    const auto behind = maps_.lower_bound(base);
    if (behind != maps_.end() && behind->first - base < size) {
        return EEXIST;
    }
    if (behind != maps_.begin()) {
        const auto before = std::prev(behind);
        if (base - before->first < before->second->size) {
            return EEXIST;
        }
    }
    auto made = std::make_unique<Map>(size, access);
    if (fd >= 0) {
        const int32_t error = made->attach(fd, offset);
        if (error != 0) {
            return error;
        }
    }
    maps_.emplace(base, std::move(made));
    return 0;
}

int32_t Space::unmap(uint64_t base, uint64_t size) {
    const auto found = maps_.find(base);
    if (found == maps_.end() || found->second->size != size) {
        return ENOENT;
    }
    maps_.erase(found);
    return 0;
}

Map *Space::find(uint64_t address, uint64_t &base) {
    const auto behind = maps_.upper_bound(address);
    if (behind == maps_.begin()) {
        return nullptr;
    }
    const auto found = std::prev(behind);
    base = found->first;
    return address - base < found->second->size ? found->second.get() : nullptr;
}

// What a request needs

void Space::add_runs(uint64_t address, uint32_t offset, uint32_t length) {
    while (length != 0) {
        uint64_t base = 0;
        Map *found = find(address, base);
        if (found == nullptr) {
            reason_ = TR_NOT_MAPPED;
            return;
        }
        const auto here = static_cast<uint32_t>(
            std::min<uint64_t>(length, found->size - (address - base)));
        runs_.push_back({address, offset, here, found, address - base});
        bytes_ |= found->bytes != nullptr;
        address += here;
        offset += here;
        length -= here;
    }
}

void Space::plan(const Request &request) {
    runs_.clear();
    reason_ = TR_ALLOWED;
    bytes_ = false;
    const bool write = request.type() == memory_write;
    interrupt_ = write && is_interrupt(request.address());
    if (interrupt_) {
        reason_ = request.length() == 1 && request.first_be == 15 ? TR_ALLOWED : TR_NO_MESSAGE;
        return;
    }
    if (!write) {
        const uint32_t before = bytes_before(request.first_be);
        add_runs(request.address() + before, before, byte_count(request));
    } else {
        const uint32_t size = 4 * request.length();
        const auto enabled = [&](uint32_t place) {
            return place < 4           ? (request.first_be >> place & 1) != 0
                   : place >= size - 4 ? (request.last_be >> (place - (size - 4)) & 1) != 0
                                       : true;
        };
        for (uint32_t low = 0; low < size;) {
            uint32_t high = low;
            while (high < size && enabled(high)) {
                // Between the first dword and the last one all bytes are.
                high = high == 4 && size > 8 ? size - 4 : high + 1;
            }
            add_runs(request.address() + low, low, high - low);
            low = high + 1;
        }
    }
    const uint32_t needed = write ? TR_MAP_WRITE : TR_MAP_READ;
    for (const Run &run : runs_) {
        if (reason_ == TR_ALLOWED && (run.map->access & needed) == 0) {
            reason_ = TR_NO_ACCESS;
        }
    }
}

// Only messages: the client keeps their order. Nothing waits for what is refused.
bool Space::may_start() const {
    return unanswered_ == 0 || reason_ != TR_ALLOWED || !(bytes_ || interrupt_);
}

void Space::take(const Request &request, uint32_t requester) {
    plan(request);
    if (held_.empty() && may_start()) {
        start(request, requester);
        return;
    }
    held_.push_back(std::make_unique<Held>(Held{request, requester}));
    settings.held = held_.size();
}

void Space::drain() {
    while (!held_.empty()) {
        // With the maps of now.
        plan(held_.front()->request);
        if (!may_start()) {
            break;
        }
        const std::unique_ptr<Held> first = std::move(held_.front());
        held_.pop_front();
        start(first->request, first->requester);
    }
    settings.held = held_.size();
}

// What a request does

void Space::start(const Request &request, uint32_t requester) {
    const bool write = request.type() == memory_write;
    if (reason_ != TR_ALLOWED) {
        refuse(request, reason_);
        if (!write) {
            completer_.refuse(request, requester, reporter_.now());
        }
    } else if (interrupt_) {
        interrupt(request);
    } else if (write) {
        start_write(request);
    } else {
        start_read(request, requester);
    }
}

void Space::interrupt(const Request &request) {
    settings.interrupts += 1;
    reporter_.report(TR_INTERRUPT, request.payload()[0], request.address(), function_);
}

void Space::start_write(const Request &request) {
    const auto *payload = reinterpret_cast<const uint8_t *>(request.payload());
    settings.write_tlps += 1;
    for (const Run &run : runs_) {
        settings.write_bytes += run.length;
        if (run.map->bytes == nullptr) {
            send(run, request, 0);
        } else if (!guarded_copy(run.map->bytes + run.place, payload + run.offset, run.length)) {
            refuse(request, TR_GONE);
        }
    }
}

void Space::start_read(const Request &request, uint32_t requester) {
    auto read = std::make_unique<Read>();
    read->held = {request, requester};
    read->number = next_++;
    read->data.fill(0);
    settings.read_tlps += 1;
    for (const Run &run : runs_) {
        settings.read_bytes += run.length;
        if (run.map->bytes == nullptr) {
            send(run, request, read->number);
            const uint64_t most = settings.message_limit;
            read->left += static_cast<uint32_t>((run.length + most - 1) / most);
        } else if (!guarded_copy(read->data.data() + run.offset, run.map->bytes + run.place,
                                 run.length)) {
            refuse(request, TR_GONE);
            read->good = false;
        }
    }
    if (read->left == 0) {
        finish(*read);
    } else {
        reads_[request.tag()] = std::move(read);
        settings.waiting = reads_.size();
    }
}

void Space::finish(Read &read) {
    const Held &held = read.held;
    if (read.good) {
        completer_.answer(held.request, held.requester, read.data.data(), reporter_.now());
    } else {
        completer_.refuse(held.request, held.requester, reporter_.now());
    }
}

void Space::refuse(const Request &request, uint32_t reason) {
    const bool write = request.type() == memory_write;
    const uint64_t address = request.address() + bytes_before(request.first_be);
    settings.refused[8 * write + reason] += 1;
    settings.refused_at[8 * write + reason] = address;
}

void Space::refuse_master(const Request &request) {
    refuse(request, TR_NO_MASTER);
}

// Messages

void Space::send(const Run &run, const Request &request, uint64_t number) {
    const bool write = number == 0;
    const auto *payload = reinterpret_cast<const uint8_t *>(request.payload());
    for (uint32_t done = 0; done < run.length;) {
        const auto length = static_cast<uint32_t>(
            std::min<uint64_t>(run.length - done, settings.message_limit));
        const uint64_t id = next_++;
        const Payload data = {write ? payload + run.offset + done : nullptr, write ? length : 0};
        messages_[id] = {write, number, request.tag(), run.offset + done, length};
        unanswered_ += write;
        reporter_.report(write ? TR_CLIENT_WRITE : TR_CLIENT_READ, id, run.address + done,
                         function_, length, data);
        done += length;
    }
}

void Space::answer(uint64_t id, const uint8_t *data, uint64_t length, bool good) {
    const auto found = messages_.find(id);
    if (found == messages_.end()) {
        return;
    }
    const Message message = found->second;
    messages_.erase(found);
    if (!good) {
        settings.refused[8 * message.write + TR_CLIENT_ERROR] += 1;
    }
    if (message.write) {
        unanswered_ -= 1;
        drain();
        return;
    }
    const auto waiting = reads_.find(message.tag);
    if (waiting == reads_.end() || waiting->second->number != message.number) {
        return;
    }
    Read &read = *waiting->second;
    if (good && length == message.length) {
        std::memcpy(read.data.data() + message.offset, data, length);
    } else {
        read.good = false;
    }
    read.left -= 1;
    if (read.left == 0) {
        finish(read);
        reads_.erase(waiting);
        settings.waiting = reads_.size();
    }
}

void Space::forget(uint32_t tag) {
    reads_.erase(tag);
    settings.waiting = reads_.size();
    std::erase_if(held_, [tag](const auto &held) {
        return held->request.type() == memory_read && held->request.tag() == tag;
    });
    settings.held = held_.size();
}

void Space::end() {
    for (const auto &held : held_) {
        if (held->request.type() == memory_read) {
            completer_.refuse(held->request, held->requester, reporter_.now());
        }
    }
    for (const auto &[tag, read] : reads_) {
        completer_.refuse(read->held.request, read->held.requester, reporter_.now());
    }
    held_.clear();
    reads_.clear();
    messages_.clear();
    unanswered_ = 0;
    settings.held = settings.waiting = 0;
}

}  // namespace tailrace
