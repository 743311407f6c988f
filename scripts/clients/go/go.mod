module catraca

go 1.19
