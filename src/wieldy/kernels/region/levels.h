// The steps of a region that compute on levels, words of four channels.
#pragma once

#include "parts.h"

namespace wieldy {

void quantize(const Run& run, const Quantize& step);
void dequantize(const Run& run, const Dequantize& step);
void level_pool(const Run& run, const LevelPool& step);
void level_mean(const Run& run, const LevelMean& step);

// Compute one tile of a product, a member of a chain, and return the length of its record.
Int act_on_levels(const Run& run, const LevelProductStep& step, const Tile& tile);

}  // namespace wieldy
