// Matrix products whose sums stay in registers. Channels lie in blocks of 16, pixels or tiles one after
// another within a block, so that every stride in the innermost loops is a constant.

#pragma once

#include <array>
#include <utility>

#include "block.h"

// What a product sums over: pieces of channels, each at an offset of its own in the left array, one after
// another in the right one.
struct Depth {
  const long* offsets;
  const int* steps;
  int pieces;
};

// Where a product's rows go: `row` floats apart, blocks of columns `block` apart, of the last one only
// `columns`.
struct Target {
  float* to;
  long row, block;
  int columns;
};

// Adds what one step of the depth gives: a number for each row, times the blocks of columns.
template <int ROWS, int BLOCKS, class Left>
inline __attribute__((always_inline)) void add_products(Block (&sum)[ROWS][BLOCKS], const float* right,
                                                        long right_block, Left left) {
  Block b[BLOCKS];
#pragma GCC unroll 8
  for (int j = 0; j < BLOCKS; ++j) b[j] = load(right + j * right_block);
#pragma GCC unroll 32
  for (int i = 0; i < ROWS; ++i) {
    const Vec x = broadcast(left(i));
#pragma GCC unroll 8
    for (int j = 0; j < BLOCKS; ++j)
#pragma GCC unroll 8
      for (int v = 0; v < kVecs; ++v) sum[i][j].v[v] += x * b[j].v[v];
  }
}

// Products of ROWS rows, kBlock floats apart, with BLOCKS blocks of columns, all held in registers.
template <int ROWS, int BLOCKS>
void product(const float* left, Depth depth, const float* right, long right_block, Target target) {
  Block sum[ROWS][BLOCKS] = {};
  for (int piece = 0; piece < depth.pieces; ++piece) {
    const float* a = left + depth.offsets[piece];
    for (const float* end = a + depth.steps[piece]; a < end; ++a, right += kBlock) {
      add_products(sum, right, right_block, [=](int i) { return a[i * kBlock]; });
    }
  }
#pragma GCC unroll 32
  for (int i = 0; i < ROWS; ++i)
#pragma GCC unroll 8
    for (int j = 0; j < BLOCKS; ++j)
      store(target.to + i * target.row + j * target.block, sum[i][j],
            j + 1 < BLOCKS ? kBlock : target.columns);
}

// How many rows there are products for; others are done by overlapping ones.
template <int BLOCKS>
struct Sizes;
template <>
struct Sizes<1> {
  static constexpr std::array<int, 13> rows{1, 2, 3, 4, 6, 8, 10, 12, 14, 16, 20, 24, 28};
};
template <>
struct Sizes<2> {
  static constexpr std::array<int, 11> rows{1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14};
};

typedef void Product(const float*, Depth, const float*, long, Target);

template <int BLOCKS, std::size_t... I>
constexpr std::array<Product*, sizeof...(I)> product_table(std::index_sequence<I...>) {
  // Those that registers cannot hold are never asked for: they need not be compiled.
  return {product<std::min(Sizes<BLOCKS>::rows[I], kMostSums / BLOCKS), BLOCKS>...};
}

// All rows, in nearly equal pieces that registers can hold.
template <int BLOCKS>
void multiply(int rows, const float* left, Depth depth, const float* right, long right_block, Target target) {
  constexpr auto& sizes = Sizes<BLOCKS>::rows;
  static constexpr auto table = product_table<BLOCKS>(std::make_index_sequence<sizes.size()>());
  const int pieces = divide_up(rows, kMostSums / BLOCKS);
  std::size_t size = 0;
  while (sizes[size] < divide_up(rows, pieces)) ++size;
  if (sizes[size] > rows) --size;
  const int step = std::min(sizes[size], kMostSums / BLOCKS);
  for (int done = 0; done < rows; done += step) {
    // The last piece may begin among rows that are done, and give the same results again.
    const int first = std::min(done, rows - step);
    Target to = target;
    to.to += first * target.row;
    table[size](left + first * kBlock, depth, right, right_block, to);
  }
}

// Sums over a grid of pixels, both arrays kBlock floats a pixel: to[i][block] (+)= left[offsets[i]] * right.
struct Grid {
  int rows, cols;
  long left_row, right_row;
};

template <int ROWS, int BLOCKS, bool TOGETHER>
void outer_product(const float* left, const long* offsets, const float* right, long right_block, Grid grid,
                   float* to, long to_block, bool add) {
  Block sum[ROWS][BLOCKS] = {};
  const float* starts[ROWS];
  for (int i = 0; i < ROWS; ++i) starts[i] = left + offsets[i];
  for (int row = 0; row < grid.rows; ++row) {
    const float* b = right + row * grid.right_row;
    const long end = row * grid.left_row + long(grid.cols) * kBlock;
    for (long at = row * grid.left_row; at < end; at += kBlock, b += kBlock) {
      add_products(sum, b, right_block, [&](int i) { return TOGETHER ? starts[0][at + i] : starts[i][at]; });
    }
  }
#pragma GCC unroll 32
  for (int i = 0; i < ROWS; ++i)
#pragma GCC unroll 8
    for (int j = 0; j < BLOCKS; ++j) {
      float* p = to + i * kBlock + j * to_block;
      store(p, add ? load(p) + sum[i][j] : sum[i][j]);
    }
}

// kOuterRows rows with all blocks of columns.
void outer_products(const float* left, const long* offsets, const float* right, long right_block, int blocks,
                    Grid grid, float* to, long to_block, bool add) {
  bool together = true;
  for (int i = 1; i < kOuterRows; ++i) together = together && offsets[i] == offsets[0] + i;
  for (int j = 0; j < blocks; j += 2) {
    const auto act =
        j + 1 < blocks
            ? (together ? outer_product<kOuterRows, 2, true> : outer_product<kOuterRows, 2, false>)
            : (together ? outer_product<kOuterRows, 1, true> : outer_product<kOuterRows, 1, false>);
    act(left, offsets, right + j * right_block, right_block, grid, to + j * to_block, to_block, add);
  }
}
