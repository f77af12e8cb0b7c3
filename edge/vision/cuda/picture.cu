// Pictures: grey values, area reduction, gradients, and moved pixels.
// Plain CUDA without headers, so that NVRTC, nvcc and the CPU shim of the tests all compile it.

// Grey value of BGR in OpenCV's fixed point of 15 bits: twin of cv2.cvtColor(BGR2GRAY), bit-equal.
extern "C" __global__ void grey_from_bgr(const unsigned char *__restrict__ bgr,
                                         unsigned char *__restrict__ grey, int pixels)
{
    const int p = blockIdx.x * blockDim.x + threadIdx.x;
    if (p >= pixels) return;
    const int blue = bgr[3 * p], green = bgr[3 * p + 1], red = bgr[3 * p + 2];
    grey[p] = (unsigned char)((blue * 3735 + green * 19235 + red * 9798 + (1 << 14)) >> 15);
}

// Weighted sum over the source cells that one output cell covers. Weights of 0 pad short rows.
// The sums run in OpenCV's order (along each row first), so that they agree bit for bit.
__device__ float area_sum_u8(const unsigned char *src, int src_width, int src_height, int channels,
                             const float *x_weight, int x_first, int x_taps,
                             const float *y_weight, int y_first, int y_taps)
{
    float sum = 0.0f;
    for (int i = 0; i < y_taps; ++i) {
        const int y = min(y_first + i, src_height - 1);
        float row = 0.0f;
        for (int j = 0; j < x_taps; ++j) {
            const int x = min(x_first + j, src_width - 1);
            row += (float)src[(y * src_width + x) * channels] * x_weight[j];
        }
        sum += y_weight[i] * row;
    }
    return sum;
}

__device__ float area_sum_f32(const float *src, int src_width, int src_height, int channels,
                              const float *x_weight, int x_first, int x_taps,
                              const float *y_weight, int y_first, int y_taps)
{
    float sum = 0.0f;
    for (int i = 0; i < y_taps; ++i) {
        const int y = min(y_first + i, src_height - 1);
        float row = 0.0f;
        for (int j = 0; j < x_taps; ++j) {
            const int x = min(x_first + j, src_width - 1);
            row += src[(y * src_width + x) * channels] * x_weight[j];
        }
        sum += y_weight[i] * row;
    }
    return sum;
}

// Twin of cv2.resize(INTER_AREA) on uint8, bit-equal. One thread writes one value.
extern "C" __global__ void shrink_u8(const unsigned char *__restrict__ src,
                                     unsigned char *__restrict__ dst,
                                     int src_width, int src_height, int width, int height,
                                     int channels,
                                     const int *__restrict__ x_first,
                                     const float *__restrict__ x_weight, int x_taps,
                                     const int *__restrict__ y_first,
                                     const float *__restrict__ y_weight, int y_taps)
{
    const int t = blockIdx.x * blockDim.x + threadIdx.x;
    if (t >= width * height * channels) return;
    const int channel = t % channels, x = t / channels % width, y = t / channels / width;
    const float sum = area_sum_u8(src + channel, src_width, src_height, channels,
                                  x_weight + x * x_taps, x_first[x], x_taps,
                                  y_weight + y * y_taps, y_first[y], y_taps);
    dst[t] = (unsigned char)min(max((int)rintf(sum), 0), 255);
}

// The same where both sides shrink by whole factors: OpenCV then sums whole numbers, and rounds
// halves up for 2 x 2 and to even otherwise.
extern "C" __global__ void shrink_whole_u8(const unsigned char *__restrict__ src,
                                           unsigned char *__restrict__ dst, int src_width,
                                           int width, int height, int channels, int factor_x,
                                           int factor_y)
{
    const int t = blockIdx.x * blockDim.x + threadIdx.x;
    if (t >= width * height * channels) return;
    const int channel = t % channels, x = t / channels % width, y = t / channels / width;
    int sum = 0;
    for (int i = 0; i < factor_y; ++i)
        for (int j = 0; j < factor_x; ++j)
            sum += src[((y * factor_y + i) * src_width + x * factor_x + j) * channels + channel];
    if (factor_x == 2 && factor_y == 2) dst[t] = (unsigned char)((sum + 2) >> 2);
    else dst[t] = (unsigned char)rintf((float)sum * (1.0f / (float)(factor_x * factor_y)));
}

// The same on float32: four values at a time, in OpenCV's order.
extern "C" __global__ void shrink_whole_f32(const float *__restrict__ src,
                                            float *__restrict__ dst, int src_width, int width,
                                            int height, int channels, int factor_x, int factor_y)
{
    const int t = blockIdx.x * blockDim.x + threadIdx.x;
    if (t >= width * height * channels) return;
    const int channel = t % channels, x = t / channels % width, y = t / channels / width;
    const int area = factor_x * factor_y;
    const float *corner = src + (y * factor_y * src_width + x * factor_x) * channels + channel;
    float sum = 0.0f, four = 0.0f;
    for (int k = 0; k < area; ++k) {
        const float value = corner[(k / factor_x * src_width + k % factor_x) * channels];
        if (k >= area / 4 * 4) { sum += value; continue; }
        four = k % 4 == 0 ? value : four + value;
        if (k % 4 == 3) sum += four;
    }
    dst[t] = sum * (1.0f / (float)area);
}

// Twin of cv2.resize(INTER_AREA) on float32, bit-equal.
extern "C" __global__ void shrink_f32(const float *__restrict__ src, float *__restrict__ dst,
                                      int src_width, int src_height, int width, int height,
                                      int channels,
                                      const int *__restrict__ x_first,
                                      const float *__restrict__ x_weight, int x_taps,
                                      const int *__restrict__ y_first,
                                      const float *__restrict__ y_weight, int y_taps)
{
    const int t = blockIdx.x * blockDim.x + threadIdx.x;
    if (t >= width * height * channels) return;
    const int channel = t % channels, x = t / channels % width, y = t / channels / width;
    dst[t] = area_sum_f32(src + channel, src_width, src_height, channels,
                          x_weight + x * x_taps, x_first[x], x_taps,
                          y_weight + y * y_taps, y_first[y], y_taps);
}

// Twin of cv2.spatialGradient (Sobel 3 x 3, borders mirrored without the edge), bit-equal.
extern "C" __global__ void gradient(const unsigned char *__restrict__ src,
                                    short *__restrict__ dx, short *__restrict__ dy,
                                    int width, int height)
{
    const int t = blockIdx.x * blockDim.x + threadIdx.x;
    if (t >= width * height) return;
    const int x = t % width, y = t / width;
    const int left = x > 0 ? x - 1 : 1, right = x < width - 1 ? x + 1 : width - 2;
    const unsigned char *above = src + (y > 0 ? y - 1 : 1) * width;
    const unsigned char *here = src + y * width;
    const unsigned char *below = src + (y < height - 1 ? y + 1 : height - 2) * width;
    dx[t] = (short)(above[right] - above[left] + 2 * (here[right] - here[left])
                    + below[right] - below[left]);
    dy[t] = (short)(below[left] - above[left] + 2 * (below[x] - above[x])
                    + below[right] - above[right]);
}

// Twin of edge.vision.gate.moved_pixels, bit-equal: 1 where the grey value changed by more than
// the threshold.
extern "C" __global__ void moved_pixels(const unsigned char *__restrict__ previous,
                                        const unsigned char *__restrict__ current,
                                        unsigned char *__restrict__ moved, int pixels,
                                        int threshold)
{
    const int p = blockIdx.x * blockDim.x + threadIdx.x;
    if (p >= pixels) return;
    const int difference = (int)current[p] - (int)previous[p];
    moved[p] = (difference < 0 ? -difference : difference) > threshold;
}
