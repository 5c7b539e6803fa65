-- Prints the 99th percentile of all answers' times in microseconds, and fails the run when one was no 2xx.
done = function(summary, latency)
    if summary.errors.status + summary.errors.read + summary.errors.write + summary.errors.connect + summary.errors.timeout > 0 then
        io.write("p99_us failed\n")
        return
    end
    io.write(string.format("p99_us %d\n", latency:percentile(99)))
end
