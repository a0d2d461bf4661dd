// AVX-512: sixteen positions in a register. A row of its own takes 8 registers of sums: enough to hide the
// latency of a multiply-add and to spread the broadcast. Rows that share a pattern take 24.
#include <immintrin.h>

#include "begin.h"

namespace wieldy {
namespace {

constexpr int kLanes = 16;
constexpr int kTapsFetched = 3;
constexpr int kValuesAhead = 512;  // the hardware's own fetching stops at the end of each page

// The positions of V vectors that hold pixels.
template <int V>
struct Pixels {
    __mmask16 of[V];

    Pixels(const Product& p, int position) {
        const std::uint8_t* bits = p.mask ? p.mask + position / kMaskPositions : nullptr;
        for (int v = 0; v < V; ++v, bits += bits ? 2 : 0)
            of[v] = bits ? static_cast<__mmask16>(bits[0] | bits[1] << 8) : static_cast<__mmask16>(0xffff);
    }
};

template <int V>
inline void start(__m512 (&sums)[V], const float* from) {
    for (int v = 0; v < V; ++v) sums[v] = from ? _mm512_loadu_ps(from + v * kLanes) : _mm512_setzero_ps();
}

// The second operand of a minimum is returned for a NaN, so a NaN goes through.
template <int V>
inline void finish(const Product& p, __m512 (&sums)[V], int channel, const Pixels<V>& pixels) {
    const __m512 bias = _mm512_set1_ps(p.bias[channel]);
    const __m512 low = _mm512_set1_ps(p.low), high = _mm512_set1_ps(p.high);
    for (int v = 0; v < V; ++v) {
        const __m512 sum = _mm512_max_ps(low, _mm512_add_ps(bias, sums[v]));
        sums[v] = _mm512_maskz_min_ps(pixels.of[v], high, sum);
    }
}

template <int V>
inline void keep(const __m512 (&sums)[V], float* out) {
    for (int v = 0; v < V; ++v) _mm512_storeu_ps(out + v * kLanes, sums[v]);
}

template <int V>
inline void fetch_tile(const float* at) {
    for (int v = 0; v < V; ++v) _mm_prefetch(reinterpret_cast<const char*>(at + v * kLanes), _MM_HINT_T0);
}

// Fetch what a row will read; neighbouring taps share their lines.
template <int V>
inline void fetch_taps(const Product& p, const float* in, int begin, int end) {
    for (int i = begin; i < end; i += kTapsFetched) fetch_tile<V>(in + p.offsets[i]);
}

// One row after the other: a value is broadcast once and used V times.
template <int V>
void rows(const Product& p, const Share& share, int part, int position) {
    const bool last = part == p.parts - 1;
    const std::int32_t* starts = p.starts + part * p.row_blocks;
    const float* in = p.in + position;
    const Pixels<V> pixels(p, position);
    for (int row = share.row_begin; row < share.row_end; ++row) {
        float* out = p.out + row * p.stride + position;
        __m512 sums[V];
        start(sums, Begin(p, part, row, position).from);
        if (row + 1 < share.row_end) {
            fetch_tile<V>(out + p.stride);
            if (p.own_inputs) fetch_taps<V>(p, in, starts[row + 1], starts[row + 2]);
        }
        for (int i = starts[row]; i < starts[row + 1]; ++i) {
            const __m512 value = _mm512_set1_ps(p.values[i]);
            for (int v = 0; v < V; ++v)
                sums[v] = _mm512_fmadd_ps(value, _mm512_loadu_ps(in + p.offsets[i] + v * kLanes), sums[v]);
        }
        if (last) finish(p, sums, row, pixels);
        keep(sums, out);
    }
}

// B rows that share a pattern: a load of the input is used B times.
template <int B, int V>
void blocks(const Product& p, const Share& share, int part, int position) {
    const bool last = part == p.parts - 1;
    const float* in = p.in + position;
    const Pixels<V> pixels(p, position);
    const std::int32_t* starts = p.starts + part * p.row_blocks;
    for (int block = share.row_begin; block < share.row_end; ++block) {
        const int channel = block * B;
        float* out = p.out + channel * p.stride + position;
        __m512 sums[B][V];
        const Begin begin(p, part, channel, position);
        for (int b = 0; b < B; ++b) start(sums[b], begin.of(b));
        if (block + 1 < share.row_end)
            for (int b = B; b < 2 * B; ++b) fetch_tile<V>(out + b * p.stride);
        const float* values = p.values + static_cast<std::int64_t>(starts[block]) * B;
        for (int i = starts[block]; i < starts[block + 1]; ++i, values += B) {
            _mm_prefetch(reinterpret_cast<const char*>(values + kValuesAhead), _MM_HINT_T0);
            __m512 x[V];
            for (int v = 0; v < V; ++v) x[v] = _mm512_loadu_ps(in + p.offsets[i] + v * kLanes);
            for (int b = 0; b < B; ++b) {
                const __m512 value = _mm512_set1_ps(values[b]);
                for (int v = 0; v < V; ++v) sums[b][v] = _mm512_fmadd_ps(value, x[v], sums[b][v]);
            }
        }
        if (last)
            for (int b = 0; b < B; ++b) finish(p, sums[b], channel + b, pixels);
        for (int b = 0; b < B; ++b) keep(sums[b], out + b * p.stride);
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
    for (int part = 0; part < p.parts; ++part)
        for (int position = share.begin, width; position < share.end; position += width * kLanes) {
            // as few passes as can be, of about equal width
            const int left = (share.end - position) / kLanes, passes = (left + known.widest - 1) / known.widest;
            width = (left + passes - 1) / passes;
            known.tiles[width - 1](p, share, part, position);
        }
}

}  // namespace wieldy
