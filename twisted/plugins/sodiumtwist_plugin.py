from twisted.application.service import ServiceMaker

sodium = ServiceMaker("sodium", "sodiumtwist.tap", "Receive files over encrypted TCP.", "sodium")
