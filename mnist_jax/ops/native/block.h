// Sixteen channels at a time, in vectors as wide as the processor's.

#pragma once

#include <cstring>

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

#include "shape.h"

// Floats in a vector, how many blocks of sums the registers hold beside what is multiplied, and how many rows
// of an outer product.
#if defined(__AVX512F__)
constexpr int kLanes = 16, kMostSums = 28, kOuterRows = 8;
#elif defined(__AVX__)
constexpr int kLanes = 8, kMostSums = 6, kOuterRows = 2;
#elif defined(__aarch64__)
constexpr int kLanes = 4, kMostSums = 6, kOuterRows = 2;
#else
constexpr int kLanes = 4, kMostSums = 2, kOuterRows = 1;
#endif

typedef float Vec __attribute__((vector_size(kLanes * sizeof(float)), aligned(sizeof(float)), may_alias));
constexpr int kVecs = kBlock / kLanes;  // vectors in a block of channels

struct Block {
  Vec v[kVecs];
};

inline Vec broadcast(float x) { return x - Vec{}; }

inline Block operator+(Block a, Block b) {
  for (int i = 0; i < kVecs; ++i) a.v[i] += b.v[i];
  return a;
}
inline Block operator-(Block a, Block b) {
  for (int i = 0; i < kVecs; ++i) a.v[i] -= b.v[i];
  return a;
}
inline Block operator*(float f, Block a) {
  for (int i = 0; i < kVecs; ++i) a.v[i] *= broadcast(f);
  return a;
}

inline Block load(const float* p) {
  Block b;
  for (int i = 0; i < kVecs; ++i) b.v[i] = *reinterpret_cast<const Vec*>(p + i * kLanes);
  return b;
}
inline void store(float* p, Block b) {
  for (int i = 0; i < kVecs; ++i) *reinterpret_cast<Vec*>(p + i * kLanes) = b.v[i];
}
// Of a block of channels that not all exist: those behind the end are zero, and stay unwritten.
#if defined(__AVX512F__)
inline __mmask16 mask_of(int channels) {
  return __mmask16(channels >= kBlock ? 0xffff : (1 << channels) - 1);
}
inline Block load(const float* p, int channels) {
  return {{Vec(_mm512_maskz_loadu_ps(mask_of(channels), p))}};
}
inline void store(float* p, Block b, int channels) {
  _mm512_mask_storeu_ps(p, mask_of(channels), __m512(b.v[0]));
}
#else
inline Block load(const float* p, int channels) {
  if (channels >= kBlock) return load(p);
  float whole[kBlock] = {};
  std::memcpy(whole, p, channels * sizeof(float));
  return load(whole);
}
inline void store(float* p, Block b, int channels) {
  if (channels >= kBlock) return store(p, b);
  float whole[kBlock];
  store(whole, b);
  std::memcpy(p, whole, channels * sizeof(float));
}
#endif

// One block of a kernel's columns, [taps][channels][features]: features, or, transposed, channels.
inline Block load_weights(const float* kernel, const Shape& s, int tap, int row, int block, bool transposed) {
  const float* from = kernel + long(tap) * s.channels * s.features;
  if (!transposed) return load(from + long(row) * s.features + block * kBlock, s.features - block * kBlock);
  float column[kBlock] = {};
  const int first = block * kBlock, count = std::min(kBlock, s.channels - first);
  for (int i = 0; i < count; ++i) column[i] = from[long(first + i) * s.features + row];
  return load(column);
}
