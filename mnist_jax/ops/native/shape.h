// The shapes of a convolution, and what is counted from them.

#pragma once

#include <algorithm>

constexpr int kBlock = 16;  // channels that are computed together

inline int divide_up(int a, int b) { return (a + b - 1) / b; }
inline int divide_down(int a, int b) { return a >= 0 ? a / b : -divide_up(-a, b); }
inline int remainder_of(int a, int b) { return a - divide_down(a, b) * b; }
inline int blocks_of(int channels) { return divide_up(channels, kBlock); }

// Along one axis.
struct Axis {
  int kernel, pad, stride, dilation;

  int reach() const { return (kernel - 1) * dilation; }  // from the first pixel a place sees to the last
};

struct Shape {
  int batch, channels, features;
  Axis down, across;
  int height, width, out_height, out_width;

  int taps() const { return down.kernel * across.kernel; }
  long image_size() const { return long(height) * width * channels; }
  long result_size() const { return long(out_height) * out_width * features; }
};
