//! API keys: what they are good for, how they are limited, and how they end.
