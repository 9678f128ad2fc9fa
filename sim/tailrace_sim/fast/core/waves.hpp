// FST of a device for a window of time. Costs nothing in a library that was built without.

#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>

#include "Vdevice.h"
#if VM_TRACE_FST
#include "verilated_fst_c.h"
#endif

namespace tailrace {

#if VM_TRACE_FST

class Waves {
public:
    static constexpr bool built = true;

    void open(Vdevice &model, const char *path, uint64_t from, uint64_t to) {
        close();
        path_ = path;
        from_ = from;
        to_ = to;
        if (!file_) {
            file_ = std::make_unique<VerilatedFstC>();
            model.trace(file_.get(), 99);
        }
    }

    // The model's values from `time` on.
    void dump(uint64_t time) {
        if (time < from_ || time >= to_) {
            if (is_open_ && time >= to_) {
                close();
            }
            return;
        }
        if (!is_open_) {
            file_->open(path_.c_str());
            is_open_ = true;
        }
        // Two clocks may fall at one time; the format wants time to pass between two dumps.
        last_ = std::max(time, last_ + 1);
        file_->dump(last_);
    }

    void flush() {
        if (is_open_) {
            file_->flush();
        }
    }

    void close() {
        if (is_open_) {
            file_->close();
            is_open_ = false;
        }
        from_ = ~uint64_t{0};
    }

private:
    std::unique_ptr<VerilatedFstC> file_;
    std::string path_;
    uint64_t from_ = ~uint64_t{0}, to_ = 0, last_ = 0;
    bool is_open_ = false;
};

#else

class Waves {
public:
    static constexpr bool built = false;
    void open(Vdevice &, const char *, uint64_t, uint64_t) {}
    void dump(uint64_t) {}
    void flush() {}
    void close() {}
};

#endif

}  // namespace tailrace
