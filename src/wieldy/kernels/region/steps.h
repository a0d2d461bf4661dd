// What a region does, as records of int32 that plan.py writes and executor.cpp reads.
//
// All places are floats from the start of the workspace; all tables are ranges of the region's index and value
// constants. The order of the fields is the contract: plan.py holds the same names, and a test compares them.
#pragma once

#include <cstdint>

namespace wieldy {

using Int = std::int32_t;

enum StepKind : Int {
    kLoad, kStore, kSplit, kChain, kProduct, kPool, kMean,
    kQuantize, kDequantize, kLevelProduct, kLevelPool, kLevelMean
};

// Channels of one resolution: rows of `pitch` floats of which `width` are pixels, `stride` floats a channel.
// Where `lead` is not 0, zeros must lie between the pixels of all rows and channels, and `lead` before the first.
// Planes of levels hold words of four channels in place of floats, and `channels` counts those.
struct Planes {
    Int begin, channels, height, width, pitch, stride, lead;
    Int fill;  // the bits of a zero
};

struct Load {  // an input of the region into planes
    Int kind, input, channels_last;  // channels_last: a tensor whose channels lie next to each other
    Planes to;
};

struct Store {  // planes to an output of the region
    Int kind, output, channels_last;
    Planes from;
};

struct Split {  // every stride-th row and column into planes of their own, for each phase that is read
    Int kind;
    Planes from, to;  // `to` has channels * phases planes, those of a channel next to each other
    Int stride_y, stride_x, phases, table;  // table: (row, column) of each phase
    Int local;                              // whether `from` lies in the scratch of a task
};

// Products that run tile by tile: each tile goes through all of them while it is in the cache. The first may
// read its source at any shift; what a later one reads of an earlier one lies at the same positions. What
// nobody else reads lies in the scratch of a task, which holds one tile; its places count from there.
struct Chain {  // followed by `members` records of ProductStep and Split
    Int kind, members, tile, tile_tasks, row_tasks;  // row_tasks is 1 where there is more than one member
    Int scratch, scratch_floats;                     // of the first task, and from one task to the next
};

struct ProductStep {  // product.h
    Int kind;
    Planes to;
    Int from, residual, residual_stride;            // residual: below 0 if there is none
    Int local;                                      // bits of Local
    Int starts, offsets, values, bias, mask, cuts;  // mask: below 0 if there is none
    Int block, parts, row_blocks, own_inputs;       // cuts: row_tasks + 1 row blocks, of equal work
    Int low, high;                                  // the bits of two floats
};

enum Local : Int { kLocalFrom = 1, kLocalResidual = 2, kLocalTo = 4 };

struct Pool {
    Int kind, average;
    Planes from, to;
    Int kernel_y, kernel_x, stride_y, stride_x, pad_y, pad_x, dilation_y, dilation_x, counts_padding;
};

struct Mean {  // of all pixels of a channel, into planes of one pixel
    Int kind;
    Planes from, to;
};

struct Scale {  // level = rint(number / scale) + zero, held between least and largest
    Int scale, zero, least, largest;  // scale: the bits of a float
};

struct Quantize {  // an input of the region into planes of levels
    Int kind, input, channels_last, channels;
    Planes to;
    Scale scale;
};

struct Dequantize {  // planes of levels to an output of the region
    Int kind, output, channels_last, channels;
    Planes from;
    Scale scale;
};

struct LevelProductStep {  // sparse_int8/product.h
    Int kind;
    Planes to;
    Int from, residual, residual_stride;  // residual: below 0 if there is none
    Int local;                            // bits of Local
    Int starts, offsets, entries, bias;   // indices
    Int scale;                            // values
    Int mask, cuts;                       // as those of a ProductStep; cuts: rows of four channels
    Int shared, numbers, zero;
    Int low, high, residual_scale;        // the bits of floats
    Int residual_zero, residual_numbers;
};

struct LevelPool {  // the largest level of each window
    Int kind;
    Planes from, to;
    Int kernel_y, kernel_x, stride_y, stride_x, pad_y, pad_x, dilation_y, dilation_x;
};

struct LevelMean {  // the mean number of all pixels of a channel, into planes of floats of one pixel
    Int kind, zero, scale;
    Planes from, to;
};

}  // namespace wieldy
