// Convolutions as they are written, forward and both gradients, for XLA's CPU: some rows of an image are
// copied into blocks of channels, zeros around them, and multiplied while they are in a core's cache.
//
// What is summed in which order depends on the shapes alone, not on how many threads there are.

#include <numeric>
#include <vector>

#include "call.h"
#include "product.h"

namespace {

// Part of an image, zero outside of it, in blocks: [blocks][phases][rows][cols][16]; column x goes to phase
// x % phases, where it is column x / phases.
void copy_part(const float* image, int height, int width, int channels, int top, int left, int rows, int cols,
               int phases, float* to) {
  const int each = (cols + phases - 1) / phases;
  const long phase_size = long(rows) * each * kBlock;
  for (int b = 0; b < blocks_of(channels); ++b, to += phases * phase_size)
    for (int y = 0; y < rows; ++y) {
      const bool row_there = top + y >= 0 && top + y < height;
      const float* from = image + ((long(top) + y) * width + left) * channels + b * kBlock;
      for (int x = 0; x < each * phases; ++x) {
        const bool there = row_there && left + x >= 0 && left + x < width && x < cols;
        store(to + x % phases * phase_size + (long(y) * each + x / phases) * kBlock,
              there ? load(from + long(x) * channels, channels - b * kBlock) : Block{});
      }
    }
}

// [taps][rows][columns] to [blocks of columns][taps][rows][16], for the taps named.
void direct_weights(const Shape& s, const float* kernel, bool transposed, const std::vector<int>& taps,
                    int block, float* weights) {
  const int rows = transposed ? s.features : s.channels;
  for (int tap : taps)
    for (int r = 0; r < rows; ++r, weights += kBlock)
      store(weights, load_weights(kernel, s, tap, r, block, transposed));
}

// Rows of a result, of pixels `step` floats apart: the products at offsets of what copy_part made.
void direct_rows(int rows, int cols, const float* from, long from_row, Depth depth, const float* weights,
                 int columns, float* to, long to_row, long step) {
  long right_block = 0;
  for (int i = 0; i < depth.pieces; ++i) right_block += depth.steps[i] * kBlock;
  const int blocks = blocks_of(columns);
  for (int b = 0; b < blocks; b += 2)
    for (int y = 0; y < rows; ++y) {
      const int rest = columns - b * kBlock;
      const Target target{to + y * to_row + b * kBlock, step, kBlock, rest > kBlock ? rest - kBlock : rest};
      (rest > kBlock ? multiply<2> : multiply<1>)(cols, from + y * from_row, depth, weights + b * right_block,
                                                  right_block, target);
    }
}

// Sums over slots, [slots][blocks][padded rows][16], to [rows][features].
void direct_kernel_of(const Shape& s, const float* sums, long slot_size, int slots, int rows, int padded,
                      float* kernel) {
  for (int b = 0; b < blocks_of(s.features); ++b)
    for (int r = 0; r < rows; ++r) {
      const float* from = sums + (long(b) * padded + r) * kBlock;
      Block sum = load(from);
      for (int slot = 1; slot < slots; ++slot) sum = sum + load(from + slot * slot_size);
      store(kernel + long(r) * s.features + b * kBlock, sum, s.features - b * kBlock);
    }
}

constexpr long kCopy = 48 * 1024;  // floats of an image that are worked on together

// Rows of a result that are computed together, so that what they see of the image is at most about kCopy.
int band_rows(int rows, long floats_each) {
  return int(std::clamp<long>(kCopy / std::max(1L, floats_each), 1, rows));
}

struct Pixels {
  std::vector<long> offsets;
  std::vector<int> steps;

  void add(long offset, int channels, long block) {
    for (int c = 0; c < channels; c += kBlock, offset += block) {
      offsets.push_back(offset);
      steps.push_back(std::min(kBlock, channels - c));
    }
  }
  Depth depth() const { return {offsets.data(), steps.data(), int(offsets.size())}; }
};

// What a band of a result's rows sees of an image, as copy_part lays it out.
struct View {
  int rows, cols, phases, each;
  long row, phase, block;

  View(const Shape& s, int band)
      : rows((band - 1) * s.down.stride + s.down.reach() + 1),
        cols((s.out_width - 1) * s.across.stride + s.across.reach() + 1),
        phases(s.across.stride),
        each(divide_up(cols, phases)),
        row(long(each) * kBlock),
        phase(rows * row),
        block(phases * phase) {}

  long offset(const Shape& s, int r, int c) const {
    const int x = c * s.across.dilation;
    return x % phases * phase + r * s.down.dilation * row + x / phases * kBlock;
  }
  std::size_t size(int channels) const { return std::size_t(blocks_of(channels)) * block; }
};

int forward_band(const Shape& s) {
  return band_rows(s.out_height,
                   long(s.down.stride) * (View(s, 1).row * s.across.stride) * blocks_of(s.channels));
}

Trouble Direct(const Pool& pool, Array images, Array kernel, Window window, Array result, Array weights) {
  const Shape s = shape_of(images, kernel, result, window);
  std::vector<int> taps(s.taps());
  std::iota(taps.begin(), taps.end(), 0);
  const long weight_block = long(s.taps()) * s.channels * kBlock;
  if (weights.count < blocks_of(s.features) * weight_block) return kTooSmall;
  parallel(pool, blocks_of(s.features), 0, [&](int b, float*) {
    direct_weights(s, kernel.data, false, taps, b, weights.data + b * weight_block);
  });
  const int band = forward_band(s), bands = divide_up(s.out_height, band);
  const std::size_t floats = View(s, band).size(s.channels);
  return parallel(pool, s.batch * bands, floats, [&](int i, float* memory) {
    const int image = i / bands, first = i % bands * band, rows = std::min(band, s.out_height - first);
    const View view(s, rows);
    Pixels pixels;
    for (int tap : taps)
      pixels.add(view.offset(s, tap / s.across.kernel, tap % s.across.kernel), s.channels, view.block);
    copy_part(images.data + image * s.image_size(), s.height, s.width, s.channels,
              first * s.down.stride - s.down.pad, -s.across.pad, view.rows, view.cols, view.phases, memory);
    const long to_row = long(s.out_width) * s.features;
    direct_rows(rows, s.out_width, memory, s.down.stride * view.row, pixels.depth(), weights.data, s.features,
                result.data + image * s.result_size() + first * to_row, to_row, s.features);
  });
}

// Of the pixels first, first + stride, ... of an axis: which entries of the kernel lead to them, and from
// where.
struct Phase {
  int first, count;
  std::vector<std::pair<int, int>> entries;  // of the kernel, and the place that the first pixel comes from
};

std::vector<Phase> phases_of(const Axis& a, int size) {
  std::vector<Phase> phases;
  for (int first = 0; first < std::min(a.stride, size); ++first) {
    Phase phase{first, divide_up(size - first, a.stride), {}};
    for (int k = 0; k < a.kernel; ++k)
      if (remainder_of(first + a.pad - k * a.dilation, a.stride) == 0)
        phase.entries.push_back({k, divide_down(first + a.pad - k * a.dilation, a.stride)});
    phases.push_back(phase);
  }
  return phases;
}

Trouble DirectImagesGradient(const Pool& pool, Array gradient, Array kernel, Window window, Array images,
                             Array weights) {
  const Shape s = shape_of(images, kernel, gradient, window);
  const std::vector<Phase> down = phases_of(s.down, s.height), across = phases_of(s.across, s.width);
  const int blocks = blocks_of(s.channels), columns = int(across.size()), phases = int(down.size()) * columns;
  std::vector<std::vector<int>> taps(phases);
  std::vector<long> starts(phases + 1, 0);
  for (int i = 0; i < phases; ++i) {
    for (auto [r, y] : down[i / columns].entries)
      for (auto [c, x] : across[i % columns].entries) taps[i].push_back(r * s.across.kernel + c);
    starts[i + 1] = starts[i] + long(taps[i].size()) * s.features * kBlock * blocks;
  }
  if (weights.count < starts[phases]) return kTooSmall;
  parallel(pool, phases * blocks, 0, [&](int i, float*) {
    const int phase = i / blocks, b = i % blocks;
    direct_weights(s, kernel.data, true, taps[phase], b,
                   weights.data + starts[phase] + long(b) * taps[phase].size() * s.features * kBlock);
  });
  // The places that pixels come from, of a whole image across and of a band of its rows down.
  const int left = divide_down(s.across.pad - s.across.reach(), s.across.stride);
  const int cols = divide_down(s.width - 1 + s.across.pad, s.across.stride) - left + 1;
  const long row = long(cols) * kBlock;
  const int lines = divide_up(s.height, s.down.stride);  // bands are whole strides high
  const int band = band_rows(lines, row * blocks_of(s.features)), bands = divide_up(lines, band);
  const int height = band + divide_up(s.down.reach(), s.down.stride) + 1;
  const long block = height * row;
  const std::size_t floats = blocks_of(s.features) * block;
  return parallel(pool, s.batch * bands, floats, [&](int i, float* memory) {
    const int image = i / bands, first = i % bands * band;
    const int top = first + divide_down(s.down.pad - s.down.reach(), s.down.stride);
    const long image_row = long(s.width) * s.channels;
    copy_part(gradient.data + image * s.result_size(), s.out_height, s.out_width, s.features, top, left,
              height, cols, 1, memory);
    for (int phase = 0; phase < phases; ++phase) {
      const Phase &y = down[phase / columns], &x = across[phase % columns];
      const int rows = std::min(band, y.count - first);
      if (rows <= 0) continue;
      Pixels pixels;
      for (auto [r, from_row] : y.entries)
        for (auto [c, from_col] : x.entries)
          pixels.add((first + from_row - top) * row + long(from_col - left) * kBlock, s.features, block);
      float* to = images.data + image * s.image_size() + (long(first) * s.down.stride + y.first) * image_row +
                  long(x.first) * s.channels;
      direct_rows(rows, x.count, memory, row, pixels.depth(), weights.data + starts[phase], s.channels, to,
                  s.down.stride * image_row, long(s.across.stride) * s.channels);
    }
  });
}

Trouble DirectKernelGradient(const Pool& pool, Array images, Array gradient, Window window, Array kernel,
                             Array sums) {
  const Shape s = shape_of(images, kernel, gradient, window);
  const int slots = std::min<int>(sums.sizes[0], s.batch), blocks = blocks_of(s.features);
  const long slot_size = sums.count / sums.sizes[0];
  const int rows = s.taps() * s.channels, padded = divide_up(rows, kOuterRows) * kOuterRows;
  if (slot_size < long(blocks) * padded * kBlock) return kTooSmall;
  const int band = forward_band(s);
  const std::size_t floats =
      View(s, band).size(s.channels) + std::size_t(blocks) * band * s.out_width * kBlock;
  const Trouble trouble = parallel(pool, slots, floats, [&](int slot, float* memory) {
    const int first_image = long(slot) * s.batch / slots, last_image = long(slot + 1) * s.batch / slots;
    float* to = sums.data + slot * slot_size;
    bool add = false;
    for (int image = first_image; image < last_image; ++image)
      for (int first = 0; first < s.out_height; first += band) {
        const int count = std::min(band, s.out_height - first);
        const View view(s, count);
        std::vector<long> offsets;
        for (int tap = 0; tap < s.taps(); ++tap)
          for (int c = 0; c < s.channels; ++c)
            offsets.push_back(view.offset(s, tap / s.across.kernel, tap % s.across.kernel) +
                              c / kBlock * view.block + c % kBlock);
        offsets.resize(padded, 0);
        const long result_row = long(s.out_width) * kBlock, result_block = count * result_row;
        float* gradients = memory + view.size(s.channels);
        copy_part(images.data + image * s.image_size(), s.height, s.width, s.channels,
                  first * s.down.stride - s.down.pad, -s.across.pad, view.rows, view.cols, view.phases,
                  memory);
        copy_part(gradient.data + image * s.result_size(), s.out_height, s.out_width, s.features, first, 0,
                  count, s.out_width, 1, gradients);
        const Grid grid{count, s.out_width, s.down.stride * view.row, result_row};
        for (int r = 0; r < padded; r += kOuterRows)
          outer_products(memory, offsets.data() + r, gradients, result_block, blocks, grid, to + r * kBlock,
                         long(padded) * kBlock, add);
        add = true;
      }
  });
  direct_kernel_of(s, sums.data, slot_size, slots, rows, padded, kernel.data);
  return trouble;
}

}  // namespace

extern "C" const char* mnist_jax_direct_compiler() { return COMPILER; }

EXPORT(mnist_jax_direct, Direct)
EXPORT(mnist_jax_direct_images_gradient, DirectImagesGradient)
EXPORT(mnist_jax_direct_kernel_gradient, DirectKernelGradient)
