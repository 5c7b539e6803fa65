-- doc:   Points from a CSV file with the columns Service, Type, At (seconds since the epoch) and Value.
-- purge: pattern:metrics:*

INSERT INTO metric_points (service, type, at, value) VALUES (lower(:service), lower(:type), :at, :value);
