from lamp_hf.serve.demo import launch


launch()
