-- What services measure: single points for a week, and their sums for each hour and day for ever.
--
-- The sums are kept by a trigger: they are right by whatever way a point came, a route, an import or a shell, and no
-- statement can forget them. An hour and a day are rows of one table, told apart by `interval`, so that one statement
-- reads either.

CREATE TABLE metric_points (
    id      INTEGER PRIMARY KEY, -- in the order of arrival
    service TEXT NOT NULL CONSTRAINT service_is_named
            CHECK (service GLOB '[a-z0-9]*' AND service NOT GLOB '*[^a-z0-9.-]*' AND length(service) <= 64),
    type    TEXT NOT NULL CONSTRAINT type_is_named
            CHECK (type GLOB '[a-z]*' AND type NOT GLOB '*[^a-z0-9_]*' AND length(type) <= 32),
    at      INTEGER NOT NULL CONSTRAINT at_is_of_this_century CHECK (at BETWEEN 946684800 AND 4102444799),
    value   REAL NOT NULL CONSTRAINT value_is_finite CHECK (value BETWEEN -1e15 AND 1e15)
) STRICT;

CREATE INDEX metric_points_by_time ON metric_points (service, type, at);

CREATE TABLE metric_rollups (
    service  TEXT NOT NULL,
    type     TEXT NOT NULL,
    interval TEXT NOT NULL CHECK (interval IN ('hour', 'day')),
    start    INTEGER NOT NULL, -- seconds since the epoch, in UTC
    points   INTEGER NOT NULL,
    sum      REAL NOT NULL,
    lowest   REAL NOT NULL,
    highest  REAL NOT NULL,
    PRIMARY KEY (service, type, interval, start)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER metric_points_sum AFTER INSERT ON metric_points
BEGIN
    INSERT INTO metric_rollups (service, type, interval, start, points, sum, lowest, highest)
    VALUES (new.service, new.type, 'hour', new.at - new.at % 3600, 1, new.value, new.value, new.value),
           (new.service, new.type, 'day', new.at - new.at % 86400, 1, new.value, new.value, new.value)
    ON CONFLICT (service, type, interval, start) DO UPDATE SET
        points = points + 1,
        sum = sum + excluded.sum,
        lowest = min(lowest, excluded.lowest),
        highest = max(highest, excluded.highest);
END;
