"""Networks, flows, flow matching and compiled sampling kernels, whatever they are used for."""
