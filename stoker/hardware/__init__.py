"""What the machine has and how busy it is: GPUs through NVML, the rest through psutil."""
