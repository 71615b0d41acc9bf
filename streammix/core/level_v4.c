/* x86-64 with AVX-512. */
#if defined(__x86_64__)
#include "engine.h"
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512dq,avx512vl,avx512bw,avx2,fma,bmi,bmi2"))), apply_to = function)
#else
#pragma GCC target("avx512f,avx512dq,avx512vl,avx512bw,avx2,fma,bmi,bmi2,prefer-vector-width=512")
#endif
#include <immintrin.h>
#define W 8
#define LEVEL "v4"
#define TABLE kernels_v4
#include "kernels.h"
#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
