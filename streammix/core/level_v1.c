/* Any machine: vectors of two doubles. */
#define W 2
#define LEVEL "v1"
#define TABLE kernels_v1
#include "kernels.h"
