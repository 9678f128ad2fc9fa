// The C interface as C++ sees it. `fast.h` itself has no preprocessor lines: cffi reads it too.

#pragma once

#include <cstdint>

#pragma GCC visibility push(default)
extern "C" {
#include "fast.h"
}
#pragma GCC visibility pop
