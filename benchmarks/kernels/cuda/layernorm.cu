// LayerNorm, one block a row: the row stays in registers, as it came, for mean, variance and output.
//
// A row of 5120 is 640 loads of 16 bytes. Triton's blocks are powers of two, which leave lanes idle
// or split the row in two; here 320 threads take two loads each. Where the input is larger than the
// second-level cache, its lines are marked to be given up last: on one H100 at 16384 rows that took
// 115.3 us instead of 116.5 (marked to leave first, 118.1); at 2048 rows 20.6 us instead of 19.4.

#include <ATen/core/Tensor.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/csrc/utils/pybind.h>

constexpr int HIDDEN = 5120;
constexpr int THREADS = 320;
constexpr int WARPS = THREADS / 32;
constexpr int LOADS = HIDDEN / (8 * THREADS);
static_assert(LOADS * 8 * THREADS == HIDDEN, "every thread has the same number of loads");
constexpr int FEW = 4096;

/// Eight bfloat16 of neighbouring columns, two in a word.
union Eight {
  uint4 whole;
  unsigned pairs[4];
};

__device__ float low(unsigned pair) { return __uint_as_float(pair << 16); }
__device__ float high(unsigned pair) { return __uint_as_float(pair & 0xffff0000u); }

/// 16 bytes that are read once; with KEEP, the second-level cache gives them up last.
template <bool KEEP>
__device__ uint4 load_once(const uint4* from) {
  uint4 value;
  if constexpr (KEEP) {
    unsigned long long policy;
    asm("createpolicy.fractional.L2::evict_last.b64 %0, 1.0;" : "=l"(policy));
    asm volatile("ld.global.nc.L1::no_allocate.L2::cache_hint.v4.u32 {%0, %1, %2, %3}, [%4], %5;"
                 : "=r"(value.x), "=r"(value.y), "=r"(value.z), "=r"(value.w)
                 : "l"(from), "l"(policy));
  } else {
    asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(value.x), "=r"(value.y), "=r"(value.z), "=r"(value.w)
                 : "l"(from));
  }
  return value;
}

/// Two numbers rounded to bfloat16, the first in the lower half.
__device__ unsigned packed(float first, float second) {
  unsigned pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(second), "f"(first));
  return pair;
}

/// The sum over all threads of the block, in each of them; `partial` serves one sum only.
__device__ float block_sum(float value, float (&partial)[WARPS]) {
  for (int offset = 16; offset > 0; offset /= 2) value += __shfl_xor_sync(~0u, value, offset);
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = value;
  __syncthreads();
  value = 0.0f;
  for (int warp = 0; warp < WARPS; warp++) value += partial[warp];
  return value;
}

template <bool KEEP>
__global__ void __launch_bounds__(THREADS)
layernorm_kernel(const uint4* __restrict__ x, const uint4* __restrict__ weight,
                 const uint4* __restrict__ bias, uint4* __restrict__ y, float eps) {
  __shared__ float sums[WARPS], squares[WARPS];
  const size_t row = size_t(blockIdx.x) * (HIDDEN / 8);
  const int column = threadIdx.x;
  Eight values[LOADS], scales[LOADS], shifts[LOADS];
  // Weight and bias are asked for before the sums, so that they do not wait for them afterwards.
#pragma unroll
  for (int i = 0; i < LOADS; i++) values[i].whole = load_once<KEEP>(x + row + column + i * THREADS);
#pragma unroll
  for (int i = 0; i < LOADS; i++) scales[i].whole = __ldg(weight + column + i * THREADS);
#pragma unroll
  for (int i = 0; i < LOADS; i++) shifts[i].whole = __ldg(bias + column + i * THREADS);

  float sum = 0.0f;
#pragma unroll
  for (int i = 0; i < LOADS; i++)
#pragma unroll
    for (unsigned pair : values[i].pairs) sum += low(pair) + high(pair);
  const float mean = block_sum(sum, sums) / HIDDEN;

  float square = 0.0f;
#pragma unroll
  for (int i = 0; i < LOADS; i++)
#pragma unroll
    for (unsigned pair : values[i].pairs) {
      const float first = low(pair) - mean, second = high(pair) - mean;
      square += first * first + second * second;
    }
  const float rstd = rsqrtf(block_sum(square, squares) / HIDDEN + eps);

#pragma unroll
  for (int i = 0; i < LOADS; i++) {
    Eight result;
#pragma unroll
    for (int k = 0; k < 4; k++) {
      const unsigned pair = values[i].pairs[k];
      const unsigned scale = scales[i].pairs[k], shift = shifts[i].pairs[k];
      result.pairs[k] = packed((low(pair) - mean) * rstd * low(scale) + low(shift),
                               (high(pair) - mean) * rstd * high(scale) + high(shift));
    }
    y[row + column + i * THREADS] = result.whole;
  }
}

void run(at::Tensor x, at::Tensor weight, at::Tensor bias, double eps, at::Tensor y) {
  TORCH_CHECK(x.size(1) == HIDDEN, "rows of ", HIDDEN, " are expected, not of ", x.size(1));
  const auto words = [](const at::Tensor& t) { return static_cast<const uint4*>(t.const_data_ptr()); };
  const auto kernel = x.size(0) < FEW ? layernorm_kernel<false> : layernorm_kernel<true>;
  kernel<<<x.size(0), THREADS, 0, c10::cuda::getCurrentCUDAStream()>>>(
      words(x), words(weight), words(bias), static_cast<uint4*>(y.mutable_data_ptr()), float(eps));
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

PYBIND11_MODULE(TORCH_EXTENSION_NAME, m) { m.def("run", &run); }
