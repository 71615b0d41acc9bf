/* x86-64 with AVX2. */
#if defined(__x86_64__)
#include "engine.h"
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,bmi,bmi2"))), apply_to = function)
#else
#pragma GCC target("avx2,fma,bmi,bmi2")
#endif
#include <immintrin.h>
#define W 4
#define LEVEL "v3"
#define TABLE kernels_v3
#include "kernels.h"
#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
