/* The kernels at one vector width: W, LEVEL and TABLE are defined by the file that includes this one. */
#include "engine.h"
#include "vector.h"
#include "steps.h"
#include "families.h"
#include "gamma.h"
#include "families_gamma.h"
#include "circle.h"
#include "inflated.h"
#include "record.h"
#include "tile.h"
#include "tile_gaussian.h"
#include "tile_gamma.h"
#include "tile_circle.h"
#include "tile_expect.h"
#include "tile_sums.h"
#include "blend.h"

const kernels TABLE = {LEVEL, W, expect, learn, maximize, accumulate, blend, gap_of};
