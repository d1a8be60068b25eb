// Winograd's convolution F(4x4, 3x3), forward and both gradients, for XLA's CPU: a few tiles at a time from
// the first transform to the last, so that nothing between them leaves a core's cache. winograd.py says what
// it is.
//
// What is summed in which order depends on the shapes alone, not on how many threads there are.

#include <numeric>
#include <vector>

#include "call.h"
#include "product.h"

namespace {

// The transforms of F(4x4, 3x3) along one axis, with the points 0, 2/3, -2/3, 3/2, -3/2 and infinity, see
// winograd.py. The product of 2/3 and 3/2 is 1, which leaves out factors.
constexpr float kA = 2.0f / 3, kB = 1.5f, kA2 = 4.0f / 9, kB2 = 2.25f, kA3 = 8.0f / 27, kB3 = 3.375f;
constexpr float kSum = 97.0f / 36;  // kA2 + kB2

inline void transform_input(const Block d[6], Block t[6]) {
  Block even_a = d[4] - kB2 * d[2], odd_a = d[3] - kB2 * d[1];
  Block even_b = d[4] - kA2 * d[2], odd_b = d[3] - kA2 * d[1];
  t[0] = d[0] + d[4] - kSum * d[2];
  t[1] = even_a + kA * odd_a;
  t[2] = even_a - kA * odd_a;
  t[3] = even_b + kB * odd_b;
  t[4] = even_b - kB * odd_b;
  t[5] = d[1] + d[5] - kSum * d[3];
}

inline void transform_output(const Block m[6], Block y[4]) {
  Block sum_a = m[1] + m[2], difference_a = m[1] - m[2];
  Block sum_b = m[3] + m[4], difference_b = m[3] - m[4];
  y[0] = m[0] + sum_a + sum_b;
  y[1] = kA * difference_a + kB * difference_b;
  y[2] = kA2 * sum_a + kB2 * sum_b;
  y[3] = m[5] + kA3 * difference_a + kB3 * difference_b;
}

// The adjoint of transform_output.
inline void transform_gradient(const Block y[4], Block s[6]) {
  Block even_a = y[0] + kA2 * y[2], odd_a = kA * y[1] + kA3 * y[3];
  Block even_b = y[0] + kB2 * y[2], odd_b = kB * y[1] + kB3 * y[3];
  s[0] = y[0];
  s[1] = even_a + odd_a;
  s[2] = even_a - odd_a;
  s[3] = even_b + odd_b;
  s[4] = even_b - odd_b;
  s[5] = y[3];
}

// The adjoint of transform_input.
inline void input_gradient(const Block t[6], Block d[6]) {
  Block sum_a = t[1] + t[2], difference_a = t[1] - t[2];
  Block sum_b = t[3] + t[4], difference_b = t[3] - t[4];
  d[0] = t[0];
  d[1] = t[5] - kB * difference_a - kA * difference_b;
  d[2] = -1.0f * (kSum * t[0] + kB2 * sum_a + kA2 * sum_b);
  d[3] = kA * difference_a + kB * difference_b - kSum * t[5];
  d[4] = t[0] + sum_a + sum_b;
  d[5] = t[5];
}

// Denominators of the filter transform: p times the differences of p to the other points.
constexpr float kGA = 1 / (2 * kA2 * (kA2 - kB2)), kGB = 1 / (2 * kB2 * (kB2 - kA2));

inline void transform_filter(const Block k[3], Block u[6]) {
  Block even_a = kGA * k[0] + (kGA * kA2) * k[2], odd_a = (kGA * kA) * k[1];
  Block even_b = kGB * k[0] + (kGB * kB2) * k[2], odd_b = (kGB * kB) * k[1];
  u[0] = k[0];
  u[1] = even_a + odd_a;
  u[2] = even_a - odd_a;
  u[3] = even_b + odd_b;
  u[4] = even_b - odd_b;
  u[5] = k[2];
}

// The adjoint of transform_filter.
inline void filter_gradient(const Block u[6], Block k[3]) {
  Block sum_a = u[1] + u[2], difference_a = u[1] - u[2];
  Block sum_b = u[3] + u[4], difference_b = u[3] - u[4];
  k[0] = u[0] + kGA * sum_a + kGB * sum_b;
  k[1] = (kGA * kA) * difference_a + (kGB * kB) * difference_b;
  k[2] = u[5] + (kGA * kA2) * sum_a + (kGB * kB2) * sum_b;
}

inline int tiles_across(const Shape& s) { return divide_up(s.out_width, 4); }
inline int tiles_each(const Shape& s) { return tiles_across(s) * divide_up(s.out_height, 4); }

typedef void Transform(const Block*, Block*);

// The second half of a transform to 36 places: what was transformed down is transformed across, and written.
template <int SIDE, Transform* TRANSFORM>
inline void transform_lines(const Block (&columns)[SIDE][6], float* to, long plane) {
  for (int i = 0; i < 6; ++i) {
    Block line[SIDE], out[6];
    for (int j = 0; j < SIDE; ++j) line[j] = columns[j][i];
    TRANSFORM(line, out);
    for (int j = 0; j < 6; ++j) store(to + (i * 6 + j) * plane, out[j]);
  }
}

// The first half of a transform from 36 places: each column of a tile is read and transformed down.
template <int SIDE, Transform* TRANSFORM>
inline void transform_columns(const float* from, long plane, Block (&columns)[6][SIDE]) {
  for (int j = 0; j < 6; ++j) {
    Block column[6];
    for (int i = 0; i < 6; ++i) column[i] = load(from + (i * 6 + j) * plane);
    TRANSFORM(column, columns[j]);
  }
}

// Reads a 6x6 tile of one block of channels, zero outside of the image, and transforms it along both axes.
inline void transform_tile(const float* image, const Shape& s, int top, int left, int channels, float* to,
                           long plane) {
  Block tile[6][6];
  const long row = long(s.width) * s.channels;
  const bool inside =
      top >= 0 && left >= 0 && top + 6 <= s.height && left + 6 <= s.width && channels >= kBlock;
  for (int j = 0; j < 6; ++j) {
    Block column[6];
    if (inside) {
      const float* from = image + top * row + long(left + j) * s.channels;
      for (int i = 0; i < 6; ++i) column[i] = load(from + i * row);
    } else {
      for (int i = 0; i < 6; ++i) {
        const int y = top + i, x = left + j;
        const bool there = y >= 0 && x >= 0 && y < s.height && x < s.width;
        column[i] = there ? load(image + y * row + long(x) * s.channels, channels) : Block{};
      }
    }
    transform_input(column, tile[j]);
  }
  transform_lines<6, transform_input>(tile, to, plane);
}

// Reads a 4x4 tile of the result's gradient, zero outside of it, and spreads it to the 36 places it came
// from.
inline void spread_tile(const float* gradient, const Shape& s, int top, int left, int channels, float* to,
                        long plane) {
  Block tile[4][6];
  const long row = long(s.out_width) * s.features;
  const bool inside = top + 4 <= s.out_height && left + 4 <= s.out_width && channels >= kBlock;
  for (int j = 0; j < 4; ++j) {
    Block column[4];
    for (int i = 0; i < 4; ++i) {
      const int y = top + i, x = left + j;
      const float* from = gradient + y * row + long(x) * s.features;
      column[i] = inside ? load(from) : y < s.out_height && x < s.out_width ? load(from, channels) : Block{};
    }
    transform_gradient(column, tile[j]);
  }
  transform_lines<4, transform_gradient>(tile, to, plane);
}

// Makes a 4x4 tile of the result of its 36 products, and writes what lies within the result.
inline void finish_tile(const float* from, long plane, const Shape& s, int top, int left, int channels,
                        float* result) {
  Block tile[6][4];
  transform_columns<4, transform_output>(from, plane, tile);
  const long row = long(s.out_width) * s.features;
  for (int i = 0; i < 4 && top + i < s.out_height; ++i) {
    Block line[6], out[4];
    for (int j = 0; j < 6; ++j) line[j] = tile[j][i];
    transform_output(line, out);
    float* to = result + (top + i) * row + long(left) * s.features;
    for (int j = 0; j < 4 && left + j < s.out_width; ++j) store(to + j * s.features, out[j], channels);
  }
}

// Adds a tile's gradient to the pixels of the image that it was read from.
inline void add_tile(const float* from, long plane, const Shape& s, int top, int left, int channels,
                     float* image) {
  Block tile[6][6];
  transform_columns<6, input_gradient>(from, plane, tile);
  const long row = long(s.width) * s.channels;
  for (int i = 0; i < 6; ++i) {
    const int y = top + i;
    if (y < 0 || y >= s.height) continue;
    Block line[6], out[6];
    for (int j = 0; j < 6; ++j) line[j] = tile[j][i];
    input_gradient(line, out);
    for (int j = 0; j < 6; ++j) {
      const int x = left + j;
      if (x < 0 || x >= s.width) continue;
      float* to = image + y * row + long(x) * s.channels;
      store(to, load(to, channels) + out[j], channels);
    }
  }
}

// Tiles first ... last of a batch, in order; calls do(place, image, top, left) with the tile's result corner.
template <class Do>
inline void for_tiles(const Shape& s, int first, int last, Do&& act) {
  const int across = tiles_across(s), each = tiles_each(s);
  for (int tile = first; tile < last; ++tile) {
    const int image = tile / each, place = tile % each;
    act(tile - first, image, place / across * 4, place % across * 4);
  }
}

inline long plane_of(int blocks, int tiles) { return long(blocks) * tiles * kBlock + kBlock; }

void read_tiles(const Shape& s, const float* images, int first, int last, float* to) {
  const int tiles = last - first, blocks = blocks_of(s.channels);
  const long plane = plane_of(blocks, tiles);
  for_tiles(s, first, last, [&](int place, int image, int top, int left) {
    const float* from = images + image * s.image_size();
    for (int b = 0; b < blocks; ++b)
      transform_tile(from + b * kBlock, s, top - s.down.pad, left - s.across.pad, s.channels - b * kBlock,
                     to + (long(b) * tiles + place) * kBlock, plane);
  });
}

void read_gradient_tiles(const Shape& s, const float* gradient, int first, int last, float* to) {
  const int tiles = last - first, blocks = blocks_of(s.features);
  const long plane = plane_of(blocks, tiles);
  for_tiles(s, first, last, [&](int place, int image, int top, int left) {
    const float* from = gradient + image * s.result_size();
    for (int b = 0; b < blocks; ++b)
      spread_tile(from + b * kBlock, s, top, left, s.features - b * kBlock,
                  to + (long(b) * tiles + place) * kBlock, plane);
  });
}

// For two blocks of columns at a time, or one: the 36 products, then each tile's last transform.
template <class Finish>
void multiply_tiles(int tiles, int depth, int columns, const float* left, const float* weights,
                    float* products, Finish&& finish) {
  const int blocks = blocks_of(columns), depth_blocks = blocks_of(depth);
  const long left_plane = plane_of(depth_blocks, tiles), weight_block = long(depth) * kBlock;
  std::vector<long> offsets(depth_blocks);
  std::vector<int> steps(depth_blocks, kBlock);
  for (int b = 0; b < depth_blocks; ++b) offsets[b] = long(b) * tiles * kBlock;
  steps.back() = depth - (depth_blocks - 1) * kBlock;
  const Depth pieces{offsets.data(), steps.data(), depth_blocks};
  for (int b = 0; b < blocks; b += 2) {
    const int pair = std::min(2, blocks - b);
    const long plane = plane_of(pair, tiles), block = long(tiles) * kBlock;
    for (int p = 0; p < 36; ++p)
      (pair == 2 ? multiply<2> : multiply<1>)(tiles, left + p * left_plane, pieces,
                                              weights + (long(p) * blocks + b) * weight_block, weight_block,
                                              {products + p * plane, kBlock, block, kBlock});
    for (int j = 0; j < pair; ++j) finish(b + j, products + j * block, plane);
  }
}

void winograd_forward(const Shape& s, const float* images, const float* weights, int first, int last,
                      float* scratch, float* result) {
  const int tiles = last - first;
  read_tiles(s, images, first, last, scratch);
  float* products = scratch + 36 * plane_of(blocks_of(s.channels), tiles);
  multiply_tiles(tiles, s.channels, s.features, scratch, weights, products,
                 [&](int b, const float* from, long plane) {
                   for_tiles(s, first, last, [&](int place, int image, int top, int left) {
                     finish_tile(from + place * kBlock, plane, s, top, left, s.features - b * kBlock,
                                 result + image * s.result_size() + b * kBlock);
                   });
                 });
}

void winograd_images_gradient(const Shape& s, const float* gradient, const float* weights, int first,
                              int last, float* scratch, float* images) {
  const int tiles = last - first;
  read_gradient_tiles(s, gradient, first, last, scratch);
  float* products = scratch + 36 * plane_of(blocks_of(s.features), tiles);
  multiply_tiles(tiles, s.features, s.channels, scratch, weights, products,
                 [&](int b, const float* from, long plane) {
                   for_tiles(s, first, last, [&](int place, int image, int top, int left) {
                     add_tile(from + place * kBlock, plane, s, top - s.down.pad, left - s.across.pad,
                              s.channels - b * kBlock, images + image * s.image_size() + b * kBlock);
                   });
                 });
}

// Adds the tiles' share to the gradient of the transformed kernel, [36][blocks of features][channels][16].
void winograd_kernel_gradient(const Shape& s, const float* images, const float* gradient, int first, int last,
                              float* scratch, float* sums, bool add) {
  const int tiles = last - first, in_blocks = blocks_of(s.channels), out_blocks = blocks_of(s.features);
  const long in_plane = plane_of(in_blocks, tiles), out_plane = plane_of(out_blocks, tiles);
  const long block = long(tiles) * kBlock, sum_block = long(in_blocks) * kBlock * kBlock;
  float* spread = scratch + 36 * in_plane;
  read_tiles(s, images, first, last, scratch);
  read_gradient_tiles(s, gradient, first, last, spread);
  long offsets[kOuterRows];
  std::iota(offsets, offsets + kOuterRows, 0);
  const Grid grid{1, tiles, 0, 0};
  for (int p = 0; p < 36; ++p)
    for (int c = 0; c < in_blocks * kBlock; c += kOuterRows)
      outer_products(scratch + p * in_plane + c / kBlock * block + c % kBlock, offsets,
                     spread + p * out_plane, block, out_blocks, grid,
                     sums + p * out_blocks * sum_block + c * kBlock, sum_block, add);
}

// [3][3][rows][columns] to [36][blocks of columns][rows][16], for some rows.
void winograd_weights(const Shape& s, const float* kernel, bool transposed, int first, int last,
                      float* weights) {
  const int rows = transposed ? s.features : s.channels,
            blocks = blocks_of(transposed ? s.channels : s.features);
  const long plane = long(blocks) * rows * kBlock;
  for (int r = first; r < last; ++r)
    for (int b = 0; b < blocks; ++b) {
      Block lines[3][6];
      for (int j = 0; j < 3; ++j) {
        Block column[3];
        for (int i = 0; i < 3; ++i) column[i] = load_weights(kernel, s, i * 3 + j, r, b, transposed);
        transform_filter(column, lines[j]);
      }
      transform_lines<3, transform_filter>(lines, weights + (long(b) * rows + r) * kBlock, plane);
    }
}

// Sums of some channels over all slots, [slots][36][blocks][padded channels][16], to
// [3][3][channels][features].
void winograd_kernel_of(const Shape& s, const float* sums, int slots, int first, int last, float* kernel) {
  const int blocks = blocks_of(s.features);
  const long rows = long(blocks_of(s.channels)) * kBlock, plane = blocks * rows * kBlock;
  for (int c = first; c < last; ++c)
    for (int b = 0; b < blocks; ++b) {
      Block lines[6][3];
      for (int j = 0; j < 6; ++j) {
        Block column[6];
        for (int i = 0; i < 6; ++i) {
          const float* from = sums + (i * 6 + j) * plane + (b * rows + c) * kBlock;
          column[i] = load(from);
          for (int slot = 1; slot < slots; ++slot) column[i] = column[i] + load(from + slot * 36 * plane);
        }
        filter_gradient(column, lines[j]);
      }
      for (int i = 0; i < 3; ++i) {
        Block line[6], out[3];
        for (int j = 0; j < 6; ++j) line[j] = lines[j][i];
        filter_gradient(line, out);
        for (int j = 0; j < 3; ++j)
          store(kernel + (long(i * 3 + j) * s.channels + c) * s.features + b * kBlock, out[j],
                s.features - b * kBlock);
      }
    }
}

constexpr int kTiles = 28;

// Tiles that are computed together: whole images' where one has few, else some of an image's.
struct Pieces {
  int images, tiles;

  explicit Pieces(const Shape& s) {
    const int each = tiles_each(s);
    images = std::clamp(kTiles / each, 1, s.batch);
    tiles = each > kTiles ? divide_up(each, divide_up(each, kTiles)) : images * each;
  }
};

std::size_t tiles_size(int channels, int tiles) {
  return 36 * (std::size_t(blocks_of(channels)) * tiles + 1) * kBlock;
}

void make_winograd_weights(const Pool& pool, const Shape& s, const float* kernel, bool transposed,
                           float* weights) {
  const int rows = transposed ? s.features : s.channels, step = 8;
  parallel(pool, divide_up(rows, step), 0, [&](int i, float*) {
    winograd_weights(s, kernel, transposed, i * step, std::min(rows, (i + 1) * step), weights);
  });
}

Trouble Winograd(const Pool& pool, Array images, Array kernel, Window window, Array result, Array weights) {
  const Shape s = shape_of(images, kernel, result, window);
  if (weights.count < 36L * blocks_of(s.features) * s.channels * kBlock) return kTooSmall;
  make_winograd_weights(pool, s, kernel.data, false, weights.data);
  const int total = s.batch * tiles_each(s), step = Pieces(s).tiles;
  const std::size_t floats = tiles_size(s.channels, step) + tiles_size(2 * kBlock, step);
  return parallel(pool, divide_up(total, step), floats, [&](int i, float* memory) {
    winograd_forward(s, images.data, weights.data, i * step, std::min(total, (i + 1) * step), memory,
                     result.data);
  });
}

Trouble WinogradImagesGradient(const Pool& pool, Array gradient, Array kernel, Window window, Array images,
                               Array weights) {
  const Shape s = shape_of(images, kernel, gradient, window);
  if (weights.count < 36L * blocks_of(s.channels) * s.features * kBlock) return kTooSmall;
  make_winograd_weights(pool, s, kernel.data, true, weights.data);
  const Pieces pieces(s);
  const int each = tiles_each(s);
  const std::size_t floats = tiles_size(s.features, pieces.tiles) + tiles_size(2 * kBlock, pieces.tiles);
  return parallel(pool, divide_up(s.batch, pieces.images), floats, [&](int i, float* memory) {
    const int first = i * pieces.images, last = std::min(s.batch, first + pieces.images);
    float* to = images.data;
    std::memset(to + first * s.image_size(), 0, (last - first) * s.image_size() * sizeof(float));
    for (int tile = first * each; tile < last * each; tile += pieces.tiles)
      winograd_images_gradient(s, gradient.data, weights.data, tile,
                               std::min(last * each, tile + pieces.tiles), memory, to);
  });
}

Trouble WinogradKernelGradient(const Pool& pool, Array images, Array gradient, Window window, Array kernel,
                               Array sums) {
  const Shape s = shape_of(images, kernel, gradient, window);
  const int total = s.batch * tiles_each(s), step = Pieces(s).tiles, count = divide_up(total, step);
  const int slots = std::min<int>(sums.sizes[0], count);
  const long slot_size = sums.count / sums.sizes[0];
  if (slot_size < 36L * blocks_of(s.features) * blocks_of(s.channels) * kBlock * kBlock) return kTooSmall;
  const std::size_t floats = tiles_size(s.channels, step) + tiles_size(s.features, step);
  const Trouble trouble = parallel(pool, slots, floats, [&](int slot, float* memory) {
    const int first = long(slot) * count / slots, last = long(slot + 1) * count / slots;
    for (int i = first; i < last; ++i)
      winograd_kernel_gradient(s, images.data, gradient.data, i * step, std::min(total, (i + 1) * step),
                               memory, sums.data + slot * slot_size, i > first);
  });
  const int rows = 8;
  parallel(pool, divide_up(s.channels, rows), 0, [&](int i, float*) {
    winograd_kernel_of(s, sums.data, slots, i * rows, std::min(s.channels, (i + 1) * rows), kernel.data);
  });
  return trouble;
}

}  // namespace

extern "C" const char* mnist_jax_winograd_compiler() { return COMPILER; }

EXPORT(mnist_jax_winograd, Winograd)
EXPORT(mnist_jax_winograd_images_gradient, WinogradImagesGradient)
EXPORT(mnist_jax_winograd_kernel_gradient, WinogradKernelGradient)
