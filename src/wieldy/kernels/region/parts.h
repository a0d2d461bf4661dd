// What the steps of a region share: a run, and planes cut into parts for the threads of a team.
#pragma once

#include <algorithm>
#include <cstring>

#include "executor.h"
#include "team.h"

namespace wieldy {

constexpr int kRowsToShare = 14;

struct Run {
    const RegionPlan& plan;
    Team& team;
    float* workspace;
    const float* const* inputs;
    float* const* outputs;
};

inline float as_float(Int bits) {
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

struct Part {  // of planes: channels and rows
    int channel_begin, channel_end, row_begin, row_end;
};

// Large planes are shared out by rows, as the tiles of a chain are, so that a core finds in its own cache what it
// wrote before; small ones by channels.
template <class Body>
void parallel_parts(const Run& run, const Planes& planes, const Body& body) {
    const bool by_rows = planes.height >= kRowsToShare;
    const int count = by_rows ? planes.height : planes.channels;
    const int tasks = std::min(count, run.team.threads());
    run.team.run(tasks, [&](int task) {
        const auto cut = [&](int k) { return static_cast<int>(static_cast<std::int64_t>(count) * k / tasks); };
        if (by_rows)
            body(Part{0, planes.channels, cut(task), cut(task + 1)});
        else
            body(Part{cut(task), cut(task + 1), 0, planes.height});
    });
}

// From the first pixel of a plane to the last, with what lies between rows.
inline int positions_of(const Planes& planes) { return (planes.height - 1) * planes.pitch + planes.width; }

inline float* channel(const Run& run, const Planes& planes, std::int64_t index) {
    return run.workspace + planes.begin + index * planes.stride;
}

inline void clear_gap(float* row, const Planes& planes) {
    std::fill(row + planes.width, row + planes.pitch, as_float(planes.fill));
}

// Write the zeros around channels whose last row was written: memory has another use in between.
inline void clear_around(const Run& run, const Planes& planes, int channel_begin, int channel_end) {
    if (!planes.lead) return;
    const float zero = as_float(planes.fill);
    for (int c = channel_begin; c < channel_end; ++c)
        std::fill(channel(run, planes, c) + positions_of(planes), channel(run, planes, c + 1), zero);
    if (channel_begin == 0 && channel_end > 0) std::fill_n(channel(run, planes, 0) - planes.lead, planes.lead, zero);
}

inline void clear_around(const Run& run, const Planes& planes, const Part& part) {
    if (part.row_end == planes.height) clear_around(run, planes, part.channel_begin, part.channel_end);
}

// Copy every stride-th float, or word.
inline void copy_every(int stride, const float* __restrict in, float* __restrict out, int count) {
    if (stride == 1)
        std::memcpy(out, in, sizeof(float) * std::max(0, count));
    else if (stride == 2)
        for (int x = 0; x < count; ++x) out[x] = in[2 * x];
    else
        for (int x = 0; x < count; ++x) out[x] = in[x * stride];
}

struct Tile {  // of a task that shares its tiles, or else its rows, with others
    int begin, end, row;
    float* scratch;  // where position 0 would be
};

}  // namespace wieldy
