// Stands in for OpenCV's own header, which includes modules that are not installed: FFCV calls cv::resize alone.
#pragma once
#include <opencv2/core.hpp>
#include <opencv2/imgproc.hpp>
