-- Prints requests a second, the 99th percentile of the times in microseconds, and how many requests failed.
done = function(summary, latency)
    local errors = summary.errors
    io.write(string.format("LOAD %.1f %d %d\n", summary.requests * 1e6 / summary.duration, latency:percentile(99),
        errors.status + errors.read + errors.write + errors.connect + errors.timeout))
end
