"""Load on a running Sensorium through its public API: open-loop arrivals, real payloads, four scenarios."""
