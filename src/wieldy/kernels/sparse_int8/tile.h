// What the vector variants share: tiles of V registers, of rows of four channels. In an unnamed namespace, so
// that each has it in its own instructions. `Simd` is one instruction set:
//
//   Word, Number   registers of kLanes words, or of as many float32
//   dot(sum, levels, entry)    sum + the four products of bytes, in each lane
//   ...            loads, stores and arithmetic under their usual names
#pragma once

#include "product.h"

namespace wieldy {
namespace {

template <class Simd, int V>
inline void start(typename Simd::Word (&sums)[V], std::int32_t bias) {
    for (int v = 0; v < V; ++v) sums[v] = Simd::all(bias);
}

// Add an entry of a channel's own pattern.
template <class Simd, int V>
inline void add_own(const LevelProduct& p, int i, const std::uint8_t* in, typename Simd::Word (&sums)[V]) {
    const std::uint8_t* at = in + std::int64_t{p.offsets[i]} * kBytes;
    const auto entry = Simd::all(p.entries[i]);
    for (int v = 0; v < V; ++v) sums[v] = Simd::dot(sums[v], Simd::load(at + v * Simd::kLanes * kBytes), entry);
}

// Four channels, one after the other, each by its own pattern. A product waits for the sum before it, so narrow
// tiles add entries in turns to sums that do not wait for each other.
template <class Simd, int V>
inline void sum_own(const LevelProduct& p, int row, const std::uint8_t* in, typename Simd::Word (&sums)[kBytes][V]) {
    constexpr int kTurns = V < 4 ? 4 / V : 1;
    for (int q = 0; q < kBytes; ++q) {
        const int channel = row * kBytes + q, end = p.starts[channel + 1];
        typename Simd::Word of[kTurns][V];
        for (int turn = 0; turn < kTurns; ++turn) start<Simd>(of[turn], turn ? 0 : p.bias[channel]);
        int i = p.starts[channel];
        for (; i + kTurns <= end; i += kTurns)
            for (int turn = 0; turn < kTurns; ++turn) add_own<Simd>(p, i + turn, in, of[turn]);
        for (; i < end; ++i) add_own<Simd>(p, i, in, of[0]);
        for (int v = 0; v < V; ++v) {
            sums[q][v] = of[0][v];
            for (int turn = 1; turn < kTurns; ++turn) sums[q][v] = Simd::plus(sums[q][v], of[turn][v]);
        }
    }
}

// Four channels that share a pattern: what is loaded once is used four times.
template <class Simd, int V>
inline void sum_shared(const LevelProduct& p, int row, const std::uint8_t* in,
                       typename Simd::Word (&sums)[kBytes][V]) {
    for (int q = 0; q < kBytes; ++q) start<Simd>(sums[q], p.bias[row * kBytes + q]);
    const std::int32_t* entries = p.entries + std::int64_t{p.starts[row]} * kBytes;
    for (int i = p.starts[row]; i < p.starts[row + 1]; ++i, entries += kBytes) {
        const std::uint8_t* at = in + std::int64_t{p.offsets[i]} * kBytes;
        typename Simd::Word levels[V];
        for (int v = 0; v < V; ++v) levels[v] = Simd::load(at + v * Simd::kLanes * kBytes);
        for (int q = 0; q < kBytes; ++q) {
            const auto entry = Simd::all(entries[q]);
            for (int v = 0; v < V; ++v) sums[q][v] = Simd::dot(sums[q][v], levels[v], entry);
        }
    }
}

// The levels or numbers of a row at kLanes positions.
template <class Simd>
inline void finish(const LevelProduct& p, int row, int position, const typename Simd::Word (&sums)[kBytes]) {
    using Word = typename Simd::Word;
    using Number = typename Simd::Number;
    const Number low = Simd::all(p.low), high = Simd::all(p.high);
    const auto pixels = Simd::pixels(p.mask, position);
    const LevelResidual& residual = p.residual;
    Word others = Simd::all(0);
    if (residual.at && !residual.numbers)
        others = Simd::load(residual.at + (row * residual.stride + position) * kBytes);
    Word levels = Simd::all(0);
    for (int q = 0; q < kBytes; ++q) {
        Number y = Simd::times(Simd::number(sums[q]), Simd::all(p.scale[row * kBytes + q]));
        if (residual.at) {
            const std::int64_t place = (row * kBytes + q) * residual.stride + position;
            const Number other =
                residual.numbers ? Simd::numbers(residual.at + place * sizeof(float))
                                 : Simd::number(Simd::minus(Simd::byte(others, q), Simd::all(residual.zero)));
            y = Simd::plus(y, Simd::times(other, Simd::all(residual.scale)));
        }
        y = Simd::smaller(Simd::larger(y, low), high);
        if (p.numbers) {
            std::uint8_t* out = p.out + ((row * kBytes + q) * p.stride + position) * sizeof(float);
            Simd::store(out, Simd::kept(pixels, Simd::bits(y), Simd::all(0)));
        } else {
            levels = Simd::with_byte(levels, Simd::plus(Simd::rounded(y), Simd::all(p.zero)), q);
        }
    }
    if (!p.numbers) {
        const Word fill = Simd::all(static_cast<std::int32_t>(0x01010101u * static_cast<std::uint32_t>(p.zero)));
        Simd::store(p.out + (row * p.stride + position) * kBytes, Simd::kept(pixels, levels, fill));
    }
}

template <class Simd, int V, bool kShared>
void rows(const LevelProduct& p, const Share& share, int position) {
    const std::uint8_t* in = p.in + std::int64_t{position} * kBytes;
    for (int row = share.row_begin; row < share.row_end; ++row) {
        typename Simd::Word sums[kBytes][V];
        if (kShared) sum_shared<Simd, V>(p, row, in, sums);
        else sum_own<Simd, V>(p, row, in, sums);
        for (int v = 0; v < V; ++v) {
            const typename Simd::Word of[kBytes] = {sums[0][v], sums[1][v], sums[2][v], sums[3][v]};
            finish<Simd>(p, row, position + v * Simd::kLanes, of);
        }
    }
}

using Tile = void (*)(const LevelProduct&, const Share&, int);

// A share, in as few passes as can be of about equal width; `tiles` by the number of registers, less one.
template <class Simd>
inline void in_tiles(const LevelProduct& p, const Share& share, const Tile* tiles, int widest) {
    for (int position = share.begin, width; position < share.end; position += width * Simd::kLanes) {
        const int left = (share.end - position) / Simd::kLanes, passes = (left + widest - 1) / widest;
        width = (left + passes - 1) / passes;
        tiles[width - 1](p, share, position);
    }
}

}  // namespace
}  // namespace wieldy
