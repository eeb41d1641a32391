module gatewayload

go 1.25
