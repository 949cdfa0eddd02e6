"""A payment provider to test against: a real HTTP server in its own process, misbehaving on request.

Start it with ``python -m doorbuster.lab.payment_simulator``, or from Python with
``simulator_process.SimulatorProcess``.
"""
