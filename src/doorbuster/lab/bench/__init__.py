"""bench: what durability costs, measured on this machine, with ratios from one run.

Durable claims over HTTP with and without a store; one hot SKU sold in three ways; orders made by the consumer of
claims; start and memory of the shop. Every measurement counts its rows afterwards.
"""
