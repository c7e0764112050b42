// RMSNorm over rows of bfloat16 numbers, written for the memory system: y = x / rms(x) * weight.
//
// One block a row. A thread holds its share of the row in registers from the only read to the only
// write, 16 bytes at a time; squares are summed in float32, by shuffles within a warp and through
// shared memory between warps. The row passes by the caches that hold the weight.
//
// x, y: (rows, hidden) bfloat16, contiguous; weight: (hidden,) bfloat16; hidden = 2048 k, k = 1..4.
// Source: RMSNorm, Zhang and Sennrich 2019 (arXiv:1910.07467), equation 4.

#include <ATen/core/Tensor.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_bf16.h>
#include <torch/csrc/utils/pybind.h>

namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;
constexpr int kPack = 8;  // bfloat16 numbers in 16 bytes

struct alignas(16) Pack {
  __nv_bfloat162 pairs[kPack / 2];
};
static_assert(sizeof(Pack) == sizeof(uint4));

__device__ Pack load_once(const Pack* from) {
  const uint4 bits = __ldcs(reinterpret_cast<const uint4*>(from));
  return *reinterpret_cast<const Pack*>(&bits);
}

__device__ Pack load_kept(const Pack* from) {
  const uint4 bits = __ldg(reinterpret_cast<const uint4*>(from));
  return *reinterpret_cast<const Pack*>(&bits);
}

__device__ void store_once(Pack* to, const Pack& value) {
  __stcs(reinterpret_cast<uint4*>(to), *reinterpret_cast<const uint4*>(&value));
}

// The sum over the block, in every thread.
__device__ float sum_of_block(float mine) {
  __shared__ float by_warp[kWarps];
  for (int offset = 16; offset > 0; offset /= 2) mine += __shfl_xor_sync(0xffffffffu, mine, offset);
  if (threadIdx.x % 32 == 0) by_warp[threadIdx.x / 32] = mine;
  __syncthreads();
  float total = by_warp[threadIdx.x % kWarps];
  for (int offset = kWarps / 2; offset > 0; offset /= 2) {
    total += __shfl_xor_sync(0xffffffffu, total, offset);
  }
  return total;
}

// Thread t holds packs t, t + 256, ... of its row, so that a warp reads 512 bytes in a row.
template <int kPacks>
__global__ void __launch_bounds__(kThreads)
    rmsnorm_kernel(const Pack* __restrict__ x, const Pack* __restrict__ weight, float eps,
                   Pack* __restrict__ y) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kPacks * kThreads;
  Pack held[kPacks], scale[kPacks];
#pragma unroll
  for (int i = 0; i < kPacks; ++i) held[i] = load_once(x + row + i * kThreads + threadIdx.x);
#pragma unroll
  for (int i = 0; i < kPacks; ++i) scale[i] = load_kept(weight + i * kThreads + threadIdx.x);

  float squares = 0.0f;
#pragma unroll
  for (int i = 0; i < kPacks; ++i) {
#pragma unroll
    for (const __nv_bfloat162 pair : held[i].pairs) {
      const float2 wide = __bfloat1622float2(pair);
      squares = fmaf(wide.x, wide.x, fmaf(wide.y, wide.y, squares));
    }
  }
  constexpr int kHidden = kPacks * kThreads * kPack;
  const float rstd = rsqrtf(sum_of_block(squares) / kHidden + eps);

#pragma unroll
  for (int i = 0; i < kPacks; ++i) {
    Pack result;
#pragma unroll
    for (int j = 0; j < kPack / 2; ++j) {
      const float2 wide = __bfloat1622float2(held[i].pairs[j]);
      const float2 by = __bfloat1622float2(scale[i].pairs[j]);
      result.pairs[j] = __floats2bfloat162_rn(wide.x * rstd * by.x, wide.y * rstd * by.y);
    }
    store_once(y + row + i * kThreads + threadIdx.x, result);
  }
}

template <int kPacks>
void launch(const at::Tensor& x, const at::Tensor& weight, float eps, const at::Tensor& y) {
  rmsnorm_kernel<kPacks><<<x.size(0), kThreads, 0, c10::cuda::getCurrentCUDAStream()>>>(
      static_cast<const Pack*>(x.const_data_ptr()), static_cast<const Pack*>(weight.const_data_ptr()),
      eps, static_cast<Pack*>(y.mutable_data_ptr()));
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

void run(const at::Tensor& x, const at::Tensor& weight, double eps, const at::Tensor& y) {
  TORCH_CHECK(x.dim() == 2 && x.is_contiguous() && y.is_contiguous() && y.sizes() == x.sizes());
  TORCH_CHECK(x.scalar_type() == at::kBFloat16 && weight.scalar_type() == at::kBFloat16);
  const int64_t hidden = x.size(1);
  constexpr int64_t kStep = kThreads * kPack;
  TORCH_CHECK(hidden % kStep == 0 && hidden <= 4 * kStep, "hidden is ", hidden, ", not 2048 k");
  if (x.size(0) == 0) return;
  const c10::cuda::CUDAGuard guard(x.device());
  switch (hidden / kStep) {
    case 1: return launch<1>(x, weight, eps, y);
    case 2: return launch<2>(x, weight, eps, y);
    case 3: return launch<3>(x, weight, eps, y);
    default: return launch<4>(x, weight, eps, y);
  }
}

}  // namespace

PYBIND11_MODULE(TORCH_EXTENSION_NAME, m) {
  m.def("run", &run, "RMSNorm into the last argument.");
}
