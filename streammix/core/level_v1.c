/* Any machine: vectors of two doubles. */
#if defined(__SSE2__)
#include <emmintrin.h>
#endif
#define W 2
#define LEVEL "v1"
#define TABLE kernels_v1
#include "kernels.h"
