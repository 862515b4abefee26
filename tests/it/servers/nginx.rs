//! nginx before FastCGI and SCGI gateways.
