"""Checkout: cart, prices, coupons, shipping fees, and the saga that turns a quote into an order."""
