// Copies from and to memory of another process.

#pragma once

#include <cstddef>

namespace tailrace {

// False if a part of either is gone: the other process has made the file behind it shorter, for
// which the system sends SIGBUS. What was copied until then is.
bool guarded_copy(void *to, const void *from, size_t size);

}  // namespace tailrace
