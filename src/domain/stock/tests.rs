//! The promises of stock, one by one.
