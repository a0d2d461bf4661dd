// AVX-512: sixteen positions in a register. A row of its own takes 8 registers of sums: enough to hide the
// latency of a multiply-add and to spread the broadcast. Rows that share a pattern take 24.
#include <immintrin.h>

#include "product.h"

namespace wieldy {
namespace {

constexpr int kLanes = 16;
constexpr int kTapsFetched = 3;

inline __m512 begin(const Product& p, int channel, int position) {
    const __m512 bias = _mm512_set1_ps(p.bias[channel]);
    return p.residual ? _mm512_add_ps(bias, _mm512_loadu_ps(p.residual + channel * p.stride + position)) : bias;
}

inline __m512 finish(const Product& p, __m512 sum, int position) {
    // the second operand is returned for a NaN, so a NaN goes through
    sum = _mm512_min_ps(_mm512_set1_ps(p.high), _mm512_max_ps(_mm512_set1_ps(p.low), sum));
    if (!p.mask) return sum;
    const std::uint8_t* kept = p.mask + position / kMaskPositions;
    return _mm512_maskz_mov_ps(static_cast<__mmask16>(kept[0] | kept[1] << 8), sum);
}

template <int V>
inline void start(const Product& p, __m512 (&sums)[V], const float* out, int channel, int position, bool first) {
    for (int v = 0; v < V; ++v)
        sums[v] = first ? begin(p, channel, position + v * kLanes) : _mm512_loadu_ps(out + v * kLanes);
}

template <int V>
inline void keep(const Product& p, const __m512 (&sums)[V], float* out, int position, bool last) {
    for (int v = 0; v < V; ++v)
        _mm512_storeu_ps(out + v * kLanes, last ? finish(p, sums[v], position + v * kLanes) : sums[v]);
}

template <int V>
inline void fetch_tile(const float* at) {
    for (int v = 0; v < V; ++v) _mm_prefetch(reinterpret_cast<const char*>(at + v * kLanes), _MM_HINT_T0);
}

// Fetch what a row will read and write; neighbouring taps share their lines.
template <int V>
inline void fetch(const Product& p, const float* in, const float* out, int begin, int end) {
    for (int i = begin; i < end; i += kTapsFetched) fetch_tile<V>(in + p.offsets[i]);
    fetch_tile<V>(out);
}

// One row after the other: a value is broadcast once and used V times.
template <int V>
void rows(const Product& p, const Share& share, int part, int position) {
    const bool first = part == 0, last = part == p.parts - 1;
    const std::int32_t* starts = p.starts + part * p.row_blocks;
    const float* in = p.in + position;
    for (int row = share.row_begin; row < share.row_end; ++row) {
        float* out = p.out + row * p.stride + position;
        __m512 sums[V];
        start(p, sums, out, row, position, first);
        if (p.own_inputs && row + 1 < share.row_end) fetch<V>(p, in, out + p.stride, starts[row + 1], starts[row + 2]);
        for (int i = starts[row]; i < starts[row + 1]; ++i) {
            const __m512 value = _mm512_set1_ps(p.values[i]);
            for (int v = 0; v < V; ++v)
                sums[v] = _mm512_fmadd_ps(value, _mm512_loadu_ps(in + p.offsets[i] + v * kLanes), sums[v]);
        }
        keep(p, sums, out, position, last);
    }
}

// B rows that share a pattern: a load of the input is used B times.
template <int B, int V>
void blocks(const Product& p, const Share& share, int part, int position) {
    const bool first = part == 0, last = part == p.parts - 1;
    const float* in = p.in + position;
    const std::int32_t* starts = p.starts + part * p.row_blocks;
    for (int block = share.row_begin; block < share.row_end; ++block) {
        const int channel = block * B;
        float* out = p.out + channel * p.stride + position;
        __m512 sums[B][V];
        for (int b = 0; b < B; ++b) start(p, sums[b], out + b * p.stride, channel + b, position, first);
        const float* values = p.values + static_cast<std::int64_t>(starts[block]) * B;
        for (int i = starts[block]; i < starts[block + 1]; ++i, values += B) {
            __m512 x[V];
            for (int v = 0; v < V; ++v) x[v] = _mm512_loadu_ps(in + p.offsets[i] + v * kLanes);
            for (int b = 0; b < B; ++b) {
                const __m512 value = _mm512_set1_ps(values[b]);
                for (int v = 0; v < V; ++v) sums[b][v] = _mm512_fmadd_ps(value, x[v], sums[b][v]);
            }
        }
        for (int b = 0; b < B; ++b) keep(p, sums[b], out + b * p.stride, position, last);
    }
}

using Tile = void (*)(const Product&, const Share&, int, int);

struct Widths {
    int widest;
    const Tile* tiles;  // by the number of registers, less one
};

constexpr Tile kRows[] = {rows<1>, rows<2>, rows<3>, rows<4>, rows<5>, rows<6>, rows<7>, rows<8>};
constexpr Tile kBlockOfFour[] = {blocks<4, 1>, blocks<4, 2>, blocks<4, 3>, blocks<4, 4>, blocks<4, 5>, blocks<4, 6>};
constexpr Tile kBlockOfEight[] = {blocks<8, 1>, blocks<8, 2>, blocks<8, 3>};
Widths widths(const Product& p) {
    if (p.block == 4) return {6, kBlockOfFour};
    if (p.block == 8) return {3, kBlockOfEight};
    return {8, kRows};
}

}  // namespace

void product_avx512(const Product& p, const Share& share) {
    const Widths known = widths(p);
    const int room = (p.positions + kRoom - 1) / kRoom * kRoom;
    for (int index = share.tile_begin; index < share.tile_end; ++index) {
        const int end = (index + 1) * p.tile < room ? (index + 1) * p.tile : room;
        for (int part = 0; part < p.parts; ++part)
            for (int position = index * p.tile, width; position < end; position += width * kLanes) {
                // as few passes as can be, of about equal width
                const int left = (end - position) / kLanes, passes = (left + known.widest - 1) / known.widest;
                width = (left + passes - 1) / passes;
                known.tiles[width - 1](p, share, part, position);
            }
    }
}

}  // namespace wieldy
